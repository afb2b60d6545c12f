// The classes of the map's colours.

export const CLASSES = 7;

/**
 * Bounds of classes: round numbers below the largest, 1 2 5 10 …, at most six.
 * They change only when the largest passes one, so colours are calm.
 * @param {number} most @returns {number[]} ascending
 */
export function boundsOf(most) {
  const bounds = [];
  for (let e = Math.floor(Math.log10(Math.max(most, 1))); e >= 0 && bounds.length < CLASSES - 1; e--) {
    for (const m of [5, 2, 1]) {
      const b = m * 10 ** e;
      if (b < most && b > 1 && bounds.length < CLASSES - 1) bounds.unshift(b);
    }
  }
  return bounds;
}

/** @param {number} n @param {number[]} bounds @returns {number} 0 to 6: the darkest is always used */
export function classOf(n, bounds) {
  let i = bounds.length;
  while (i > 0 && n < bounds[i - 1]) i--;
  return CLASSES - 1 - bounds.length + i;
}
