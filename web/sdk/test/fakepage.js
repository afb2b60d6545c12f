// As much of a document as the elements use.

class FakeText {
  constructor(data) {
    this.data = data;
  }
  get textContent() {
    return this.data;
  }
}

class FakeElement {
  constructor() {
    Object.assign(this, { childNodes: [], attributes: new Map(), isConnected: false, style: { setProperty() {} }, classList: { toggle() {} } });
  }
  get children() {
    return this.childNodes.filter((c) => !(c instanceof FakeText));
  }
  get firstChild() {
    return this.childNodes[0] || null;
  }
  get lastElementChild() {
    return this.children.at(-1) || null;
  }
  get textContent() {
    return this.childNodes.map((c) => c.textContent).join("");
  }
  set textContent(text) {
    this.replaceChildren(...(text ? [text] : []));
  }
  append(...nodes) {
    for (const n of nodes) this.appendChild(typeof n === "string" ? new FakeText(n) : n);
  }
  appendChild(n) {
    this.childNodes.push(n);
    n.parent = this;
    return n;
  }
  replaceChildren(...nodes) {
    this.childNodes = [];
    this.append(...nodes);
  }
  remove() {
    this.parent.childNodes = this.parent.childNodes.filter((c) => c !== this);
  }
  getAttribute(name) {
    return this.attributes.get(name) ?? null;
  }
  hasAttribute(name) {
    return this.attributes.has(name);
  }
  setAttribute(name, value) {
    const before = this.getAttribute(name);
    this.attributes.set(name, String(value));
    if (this.constructor.observedAttributes?.includes(name)) this.attributeChangedCallback(name, before, String(value));
  }
  removeAttribute(name) {
    this.attributes.delete(name);
  }
  toggleAttribute(name, on) {
    if (on) this.attributes.set(name, "");
    else this.attributes.delete(name);
  }
  closest() {
    return { lang: document.lang };
  }
  attachShadow() {
    return Object.assign(new FakeElement(), { adoptedStyleSheets: [] });
  }
}

/** Streams of Server-Sent Events that were opened, newest last. */
export const streams = [];

class FakeEventSource {
  static CLOSED = 2;
  constructor(url) {
    this.url = new URL(url);
    this.readyState = 1;
    streams.push(this);
  }
  close() {
    this.readyState = 2;
  }
  say(m) {
    this.onmessage({ data: typeof m === "string" ? m : JSON.stringify(m) });
  }
  refuse() {
    this.readyState = 2;
    this.onerror();
  }
}

const elements = new Map();

const page = {
  document: { hidden: false, lang: "en", createElement: (name) => Object.assign(new (elements.get(name) || FakeElement)(), { localName: name }) },
  getComputedStyle: () => ({ backgroundClip: "border-box" }),
  HTMLElement: FakeElement, Text: FakeText, EventSource: FakeEventSource,
  CSSStyleSheet: class {
    replaceSync() {}
  },
  customElements: { get: (name) => elements.get(name), define: (name, of) => elements.set(name, of) },
};

/** Makes this process a page, or none. @param {boolean} on */
export function pageIs(on) {
  streams.length = 0;
  if (on) Object.assign(globalThis, page);
  else for (const name of Object.keys(page)) delete globalThis[name];
}

/** Puts an element into the page. @param {string} name @param {Record<string, string>} attributes */
export function put(name, attributes) {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  e.isConnected = true;
  e.connectedCallback();
  return e;
}
