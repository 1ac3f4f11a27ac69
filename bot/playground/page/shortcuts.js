// Shortcuts: those of a message's menu, and the global ones of the composer.

import { post } from "./api.js";
import { h, popover, toast } from "./dom.js";
import { state } from "./state.js";

export const messageMenu = (anchor, message) => open(anchor, "message", { channel: message.channel, ts: message.ts });
export const globalMenu = (anchor) => open(anchor, "global", {});

function open(anchor, kind, place) {
  const choose = async (shortcut) => {
    box.close();
    try {
      const answer = await post("/shortcuts", { user: state.me.id, callback_id: shortcut.callback_id, ...place });
      if (answer.status !== 200) toast(`${shortcut.name} did not work: ${answer.status === 504 ? "operation_timeout" : "dispatch_failed"}`);
    } catch (error) {
      toast(error.message);
    }
  };
  const items = state.shortcuts.filter((one) => one.kind === kind).map((one) =>
    h("button", { class: "shortcut-item", role: "menuitem", type: "button", onclick: () => choose(one) },
      h("span", { class: "shortcut-name" }, one.name), h("span", { class: "shortcut-help" }, one.description)));
  const menu = h("div", { class: "shortcut-menu", role: "menu", "aria-label": kind === "message" ? "Message shortcuts" : "Shortcuts" },
    items.length ? items : h("p", { class: "muted" }, "The app has no shortcuts."));
  const box = popover(anchor, menu);
  items[0]?.focus();
}
