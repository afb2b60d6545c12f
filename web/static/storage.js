// What the browser remembers for the pages. Storage can be switched off, or
// full: then nothing is remembered, and the pages work all the same.

export function recall(key) {
  try {
    return localStorage.getItem("grandstand." + key) || "";
  } catch {
    return "";
  }
}

export function remember(key, value) {
  try {
    if (value) localStorage.setItem("grandstand." + key, value);
    else localStorage.removeItem("grandstand." + key);
  } catch {
    // As above.
  }
}

// recallJSON returns {} for whatever is not an object.
export function recallJSON(key) {
  try {
    const value = JSON.parse(recall(key));
    return value && typeof value === "object" && !Array.isArray(value) ? value : {};
  } catch {
    return {};
  }
}

// sessionOf returns the session that the SDK plays on a device of this browser, ""
// if it does not.
export function sessionOf(device, event) {
  const prefix = "grandstand.session.", FRESH_MS = 150_000; // as the SDK has it
  try {
    for (const key of Object.keys(localStorage)) {
      if (!key.startsWith(prefix)) continue;
      const [, e, , d] = JSON.parse(key.slice(prefix.length));
      const [id, at] = localStorage.getItem(key).split(" ");
      if (d === device && e === event && Math.abs(Date.now() - at) < FRESH_MS) return id;
    }
  } catch {
    // As above.
  }
  return "";
}

// onRemembered calls heard when another tab changes what is remembered.
export function onRemembered(key, heard) {
  window.addEventListener("storage", (e) => (e.key === "grandstand." + key || e.key === null) && heard());
}

export function randomID() {
  return Array.from(crypto.getRandomValues(new Uint8Array(6)), (b) => b.toString(16).padStart(2, "0")).join("");
}
