// A page for the dashboard in Node: elements are made when they are asked for, keep
// what is written on them, and take every call.

class FakeElement extends EventTarget {
  constructor() {
    super();
    Object.assign(this, { textContent: "", hidden: false, value: "", dataset: {}, children: [] });
  }
}

/** Whatever is not known of an element is a function that returns another. */
const lenient = () =>
  new Proxy(new FakeElement(), {
    get(e, name) {
      if (name in e) return typeof e[name] === "function" ? e[name].bind(e) : e[name];
      if (name === "querySelectorAll") return () => [];
      if (name === "style" || name === "classList") return (e[name] = lenient());
      return typeof name === "symbol" ? undefined : () => lenient();
    },
  });

/** Makes this process a page at address, and returns its elements by id. @param {string} address */
export function fakePage(address) {
  const byId = new Map();
  const document = Object.assign(lenient(), {
    body: lenient(), documentElement: lenient(), hidden: false,
    getElementById: (id) => byId.get(id) ?? (byId.set(id, lenient()), byId.get(id)),
    createElement: lenient, createElementNS: lenient,
  });
  const url = new URL(address);
  class Lenient {
    constructor() {
      return lenient();
    }
  }
  Object.assign(globalThis, {
    document, location: url, devicePixelRatio: 1,
    history: { pushState() {}, replaceState() {} },
    sessionStorage: { getItem: () => null, setItem() {}, removeItem() {} },
    localStorage: { getItem: () => null, setItem() {}, removeItem() {} },
    matchMedia: () => lenient(), getComputedStyle: () => ({ getPropertyValue: () => "" }),
    requestAnimationFrame: (f) => setTimeout(() => f(performance.now()), 0),
    addEventListener() {}, dispatchEvent() {}, HTMLElement: FakeElement, Option: Lenient, ResizeObserver: Lenient, Path2D: Lenient,
  });
  globalThis.window = globalThis;
  globalThis.navigator ??= { language: "en" }; // Node has one from 21 on
  return document;
}
