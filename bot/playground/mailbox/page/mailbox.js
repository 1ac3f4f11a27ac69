// The mailbox: a list of e-mails, and one of them as HTML, as plain text or with its headers.

import { arrows, fill, h } from "/page/dom.js";

const at = (id) => document.getElementById(id);
const REFRESH = 3000; // milliseconds between looks for new e-mails
const FORMS = { html: "E-mail", text: "Plain text", headers: "Headers" };
let listed = "";
let form = "html";

const time = (moment, options) =>
  new Date(moment).toLocaleString("en-US", { timeZone: "America/New_York", ...options });

async function get(path) {
  const answer = await fetch(`/mailbox/${path}`);
  const data = await answer.json();
  if (!answer.ok) throw new Error(data.error);
  return data;
}

// ---------------------------------------------------------------- list

async function refresh() {
  const search = at("search").value.trim();
  const { count, emails } = await get(`emails?${new URLSearchParams({ search })}`);
  const shown = JSON.stringify([search, count, emails[0]?.id]);
  if (shown === listed) return;
  listed = shown;
  const more = count > emails.length ? ` The newest ${emails.length} are shown.` : "";
  at("count").textContent = count ? `${count} ${count === 1 ? "e-mail" : "e-mails"}.${more}`
    : search ? "No e-mail has these words." : "No e-mails yet. They arrive when a campaign is sent.";
  fill(at("emails"), emails.map(({ id, to, subject, at: moment }) =>
    h("li", {}, h("a", { href: `#${id}`, data: { id: String(id) } },
      h("span", { class: "to" }, nameOf(to)), h("time", { datetime: moment }, time(moment, { month: "short", day: "numeric", hour: "numeric", minute: "2-digit" })),
      h("span", { class: "subject" }, subject)))));
  mark();
}

const nameOf = (to) => to.replace(/ <.*>$/, "");

function mark() {
  for (const link of document.querySelectorAll("#emails a")) {
    if (link.hash === location.hash) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

// ---------------------------------------------------------------- one e-mail

async function show() {
  const id = Number(location.hash.slice(1));
  document.body.classList.toggle("reading", id > 0);
  mark();
  if (!id) return fill(at("email"), h("p", { class: "hint" }, "Choose an e-mail."));
  try {
    render(id, await get(`emails/${id}`));
  } catch (error) {
    fill(at("email"), back(), h("p", { class: "hint", role: "alert" }, error.message));
  }
}

const back = () => h("a", { class: "back", href: "#" }, "All e-mails");

function render(id, email) {
  const headers = new Map(email.headers.map(([name, value]) => [name.toLowerCase(), value]));
  const tabs = Object.entries(FORMS).map(([name, title]) =>
    h("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": "body", "aria-selected": String(form === name),
      tabindex: form === name ? "0" : "-1", onclick: () => choose(name) }, title));
  const choose = (name) => {
    form = name;
    render(id, email);
    at(`tab-${name}`).focus();
  };
  fill(at("email"), back(), h("h2", {}, headers.get("subject")),
    h("dl", {}, ["from", "to"].map((name) => [h("dt", {}, name === "from" ? "From" : "To"), h("dd", {}, headers.get(name))])),
    h("div", { class: "tabs", role: "tablist", "aria-label": "Form", onkeydown: (event) => arrows(event, tabs) }, tabs),
    h("div", { class: "body", id: "body", role: "tabpanel", "aria-labelledby": `tab-${form}` }, BODY[form](id, email)));
}

const BODY = {
  html: (id) => h("iframe", { src: `/mailbox/emails/${id}/html`, title: "The e-mail", sandbox: "allow-popups allow-popups-to-escape-sandbox" }),
  text: (id, email) => h("pre", { tabindex: "0", "aria-label": "Plain text" }, email.text),
  headers: (id, email) => h("dl", { class: "all" }, email.headers.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
};

// ---------------------------------------------------------------- start

const quietly = (task) => task().catch(() => {}); // the demo may be stopped; the next look tells
at("search").addEventListener("input", () => quietly(refresh));
addEventListener("hashchange", async () => { await show(); at("email").focus(); });
addEventListener("focus", () => quietly(refresh));
setInterval(() => !document.hidden && quietly(refresh), REFRESH);
await refresh();
await show();
