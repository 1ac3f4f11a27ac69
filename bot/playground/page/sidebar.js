// The sidebar: channels, direct messages and the app, with unread counts, and the person menu.

import { arrows, avatar, fill, h, icon } from "./dom.js";
import { person, state } from "./state.js";

export function renderSidebar() {
  const channels = state.channels.filter((one) => !one.im);
  const direct = state.channels.filter((one) => one.im);
  const outside = [["shop", "The shop", state.shop], ["mailbox", "The mailbox", state.mailbox]].filter(([, , address]) => address);
  fill(document.getElementById("sidebar"), [
    h("div", { class: "workspace-name" }, state.team, icon("down")),
    h("h2", { id: "head-channels" }, "Channels"),
    h("ul", { "aria-labelledby": "head-channels" }, channels.map((one) =>
      entry(one, one.private ? h("span", { class: "mark" }, icon("lock")) : h("span", { class: "mark" }, "#"), one.name))),
    h("h2", { id: "head-direct" }, "Direct messages"),
    h("ul", { "aria-labelledby": "head-direct" }, [
      [...state.people.values()].filter((one) => !one.is_bot).map((one) =>
        h("li", {}, h("span", { class: "entry quiet", title: one.title },
          h("span", { class: "mark face" }, avatar(one, 20), h("span", { class: "presence" })),
          h("span", { class: "entry-name" }, one.name, one.id === state.me.id && h("span", { class: "you" }, " you"))))),
    ]),
    h("h2", { id: "head-apps" }, "Apps"),
    h("ul", { "aria-labelledby": "head-apps" }, direct.map((one) =>
      entry(one, h("span", { class: "mark face" }, avatar(person(state.bot), 20)), person(state.bot).name))),
    outside.length > 0 && h("h2", { id: "head-shop" }, "Outside Slack"),
    outside.length > 0 && h("ul", { "aria-labelledby": "head-shop" }, outside.map(([target, name, address]) => h("li", {},
      h("a", { class: "entry", href: address, target }, h("span", { class: "mark" }, icon("right")), h("span", { class: "entry-name" }, name))))),
  ]);
}

function entry(channel, mark, name) {
  const current = channel.id === state.current;
  const unread = current ? 0 : channel.unread;
  return h("li", {}, h("a", {
    class: `entry${current ? " current" : ""}${unread ? " unread" : ""}`, href: `#/${state.me.handle}/${encodeURIComponent(channel.im ? "app" : channel.name)}`,
    "aria-current": current ? "page" : undefined, data: { channel: channel.id },
  }, mark, h("span", { class: "entry-name" }, name),
  unread > 0 && h("span", { class: "badge", "aria-label": `${unread} unread` }, String(unread))));
}

export function renderWho() {
  const button = document.getElementById("who");
  const menu = document.getElementById("who-menu");
  const role = { viewer: "viewer", analyst: "analyst", lead: "approver", admin: "admin" };
  fill(button, avatar(state.me, 26), h("span", { class: "who-name" }, state.me.name), h("span", { class: "who-role" }, state.me.title), icon("down"));
  button.setAttribute("aria-label", `You act as ${state.me.name}, ${state.me.title}. Switch person`);
  fill(menu, h("div", { class: "menu-head" }, "Act as"), [...state.people.values()].filter((one) => !one.is_bot).map((one) =>
    h("a", { class: "menu-item person", role: "menuitemradio", "aria-checked": String(one.id === state.me.id), href: hrefAs(one), data: { person: one.handle } },
      avatar(one, 32), h("span", {}, h("span", { class: "menu-name" }, one.name),
        h("span", { class: "menu-more" }, `${one.title} · role ${role[one.handle]}`)))));
}

function hrefAs(one) {
  const current = state.channels.find((channel) => channel.id === state.current);
  return `#/${one.handle}/${encodeURIComponent(current?.im ? "app" : current?.name || "crm")}`;
}

export function startWho() {
  const button = document.getElementById("who");
  const menu = document.getElementById("who-menu");
  const show = (open) => {
    menu.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
    if (open) menu.querySelector("a")?.focus();
  };
  button.addEventListener("click", () => show(menu.hidden));
  menu.addEventListener("click", () => {
    show(false);
    button.focus();
  });
  menu.addEventListener("keydown", (event) => {
    const items = [...menu.querySelectorAll("a")];
    if (event.key === "Escape") { show(false); button.focus(); }
    if (event.key === "Tab") show(false);
    arrows(event, items);
  });
  document.addEventListener("mousedown", (event) => !event.target.closest(".who") && show(false));
}
