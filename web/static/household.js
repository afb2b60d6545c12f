// The account of the demo: its limit, its devices, and a window that is another
// of them.

import { Account } from "/static/account.js";
import { fill } from "/static/choices.js";
import { DevicesPanel, limitChoices } from "/static/devices.js";
import { onRemembered, randomID } from "/static/storage.js";
import { keepLimit, limitOf, parseLimit } from "/static/who.js";

export class Household {
  // onLimit is called when the account has another limit, with the one before.
  constructor(section, { who, choices, onLimit }) {
    Object.assign(this, { who, choices, onLimit });
    this.limit = limitOf(who.account);
    this.account = new Account(who.account, { limit: this.limit, device: who.device });
    this.list = null; // the newest
    this.opened = 1; // windows of this account, as far as this one knows
    this.panel = new DevicesPanel(section, { signOut: (key) => this.signOut(key) });
    this.watch = this.account.watch({ onDevices: (list) => this.take(list), onTrouble: (err) => this.panel.trouble(err) });
    this.select = section.querySelector("#limit");
    this.check = section.querySelector("#check-device");
    this.fillLimits();
    this.select.addEventListener("change", () => {
      keepLimit(who.account, parseLimit(this.select.value));
      this.relimit();
    });
    onRemembered("limits", () => this.relimit());
    section.querySelector("#open-device").addEventListener("click", () => window.open(this.another(), "_blank", "noopener,width=480,height=900"));
  }

  start() {
    if (document.hidden) return;
    if (this.limit) this.watch.start();
    else this.panel.off("Without a limit nobody has to ask for a place, so there is no list of devices.");
  }

  stop() {
    this.watch.stop();
  }

  setHidden(hidden) {
    if (hidden) this.stop();
    else this.start();
  }

  // again reads the list at once: something happened that it will show.
  again() {
    this.watch.again();
  }

  // relimit takes the limit that this window, or another, was told.
  relimit() {
    const limit = limitOf(this.who.account);
    const before = this.limit;
    if (limit === before) return;
    this.limit = this.account.limit = limit;
    this.fillLimits();
    const url = new URL(location.href);
    url.searchParams.set("limit", limit || "none");
    history.replaceState(null, "", url);
    this.stop();
    this.start();
    this.onLimit(before);
  }

  fillLimits() {
    fill(this.select, limitChoices(this.limit), String(this.limit || "none"));
    this.check.href = "/device?" + new URLSearchParams({ account: this.who.account, device: this.who.device, limit: this.limit || "none" });
  }

  take(list) {
    this.list = list;
    this.show();
  }

  show() {
    if (this.list && this.limit) this.panel.show(this.list, { limit: this.limit, mine: this.list.mine, event: this.choices.event });
  }

  async signOut(key) {
    await this.account.signOut(key);
    this.again();
  }

  // another returns the address of a window that is another device.
  another() {
    const names = new Set(this.panel.names);
    do this.opened++;
    while (names.has(`Window ${this.opened}`));
    const url = this.choices.address();
    const is = { viewer: this.who.viewer, account: this.who.account, device: "dev-" + randomID(), name: `Window ${this.opened}`, limit: this.limit || "none" };
    for (const [name, value] of Object.entries(is)) url.searchParams.set(name, value);
    return url;
  }
}
