// The fake shop: products, a basket and a checkout. It sends views and carts through events.js.

import { fill, h } from "/page/dom.js";

const money = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD" });
const main = document.getElementById("main");
const shop = { products: new Map(), customer: "", codes: [], basket: new Map(), code: "", checkout: "", script: null, chat: null };

async function call(path, body) {
  const options = body ? { method: "POST", body: JSON.stringify(body) } : {};
  const answer = await fetch(`/shop/${path}`, options);
  return { status: answer.status, data: await answer.json() };
}

// Live events have the demo's time. It moves while this page is open.
async function refresh() {
  const { data } = await call("state");
  shop.products = new Map(data.products.map((one) => [one.item_id, one]));
  fill(document.getElementById("households"), data.households.map((one) => h("option", { value: one })));
  if (!shop.script) shop.script = await loadScript(data.script, data.key);
  shop.chat ||= await loadScript(data.chat, data.key);
  shop.script.dataset.clockOffset = String(Date.parse(data.now) - Date.now());
  return data;
}

function loadScript(src, key) {
  return new Promise((loaded) => {
    const script = h("script", { src, data: { key }, onload: () => loaded(script), onerror: () => loaded(script) });
    document.head.append(script);
  });
}

async function become(customer) {
  const { status, data } = await call(`households/${encodeURIComponent(customer)}`);
  if (status !== 200) return say(data.error);
  if (shop.customer && shop.customer !== customer) { shop.basket.clear(); shop.code = ""; }
  shop.customer = customer;
  shop.codes = data.codes;
  sessionStorage.setItem("customer", customer);
  document.getElementById("customer").value = customer;
  window.retention?.identify(customer);
  window.retentionChat?.identify(...data.identity);
  say("");
  show();
}

function say(text) {
  document.getElementById("notice").textContent = text;
}

function put(item, quantity = 1) {
  shop.basket.set(item, Math.min(99, (shop.basket.get(item) || 0) + quantity));
  window.retention?.cart(item, quantity);
  say(`${shop.products.get(item).title} is in the basket.`);
  count();
}

function count() {
  const items = [...shop.basket.values()].reduce((sum, one) => sum + one, 0);
  document.getElementById("basket-link").textContent = items ? `Basket (${items})` : "Basket";
}

function mail() {
  return shop.codes.map((one) => h("section", { class: "mail", "aria-label": "E-mail to this household" },
    h("p", {}, "This household's e-mail has the code ", h("strong", {}, one.code), ", valid until ", one.last_day, "."),
    h("button", { type: "button", onclick: () => { shop.code = one.code; location.hash = "#/basket"; show(); } }, "Use it")));
}

function products() {
  fill(main, h("h1", {}, "Products"), mail(),
    h("ul", { class: "products" }, [...shop.products.values()].map((one) =>
      h("li", {}, h("article", { class: "product" },
        h("a", { href: `#/item/${one.item_id}` }, one.title), h("span", { class: "kind" }, one.category),
        h("span", { class: "price" }, money.format(one.price)),
        h("button", { type: "button", "aria-label": `Add ${one.title}`, onclick: () => put(one.item_id) }, "Add"))))));
}

function item(id) {
  const one = shop.products.get(id);
  if (!one) return fill(main, h("h1", {}, "There is no such product"), h("a", { href: "#/" }, "All products"));
  window.retention?.view(id);
  fill(main, h("p", {}, h("a", { href: "#/" }, "All products")), mail(), h("h1", {}, one.title), h("p", { class: "kind" }, one.category),
    h("p", { class: "price" }, money.format(one.price)),
    h("button", { class: "primary", type: "button", onclick: () => put(id) }, "Add to the basket"));
}

function basket(error = "") {
  const lines = [...shop.basket].map(([id, quantity]) => ({ ...shop.products.get(id), quantity }));
  const subtotal = lines.reduce((sum, one) => sum + one.price * one.quantity, 0);
  fill(main, h("h1", {}, "Basket"), mail(),
    lines.length ? h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "Product"), h("th", { class: "number" }, "Quantity"), h("th", { class: "number" }, "Price"), h("th", {}, ""))),
      h("tbody", {}, lines.map((one) => h("tr", {}, h("td", {}, one.title), h("td", { class: "number" }, one.quantity),
        h("td", { class: "number" }, money.format(one.price * one.quantity)),
        h("td", {}, h("button", { type: "button", "aria-label": `Remove ${one.title}`, onclick: () => { shop.basket.delete(one.item_id); count(); basket(); } }, "Remove"))))),
      h("tfoot", {}, h("tr", {}, h("th", {}, "Total"), h("td", {}), h("td", { class: "number" }, money.format(subtotal)), h("td", {}))))
      : h("p", {}, "The basket is empty. ", h("a", { href: "#/" }, "All products")),
    h("form", { class: "checkout", onsubmit: checkout },
      h("label", {}, "Discount code", h("input", { id: "code", value: shop.code, maxlength: "64", autocomplete: "off", oninput: (event) => { shop.code = event.target.value; } })),
      h("button", { class: "primary", disabled: !lines.length }, "Place the order")),
    error && h("p", { class: "error", role: "alert" }, error));
}

async function checkout(event) {
  event.preventDefault();
  const button = event.target.querySelector("button");
  if (button.disabled) return;
  button.disabled = true;
  shop.checkout ||= crypto.randomUUID(); // so that a repeated request is the same order
  const lines = [...shop.basket].map(([item_id, quantity]) => ({ item_id, quantity }));
  const answer = await call("orders", { customer_id: shop.customer, lines, code: shop.code.trim(), checkout: shop.checkout }).catch(() => null);
  if (!answer) return basket("The shop does not answer. Place the order again.");
  const { status, data } = answer;
  shop.checkout = "";
  if (status !== 200) return basket(data.error);
  shop.basket.clear();
  shop.code = "";
  count();
  await become(shop.customer);
  fill(main, h("h1", {}, `Order ${data.order_id} is placed`),
    h("table", {}, h("tbody", {},
      h("tr", {}, h("th", {}, "Products"), h("td", { class: "number" }, money.format(data.subtotal))),
      data.code && h("tr", {}, h("th", {}, `Code ${data.code}`), h("td", { class: "number" }, `−${money.format(data.discount)}`)),
      h("tr", {}, h("th", {}, "You pay"), h("td", { class: "number" }, money.format(data.total))))),
    h("p", {}, data.is_sent ? "The desk received the order." : "The desk does not answer. The order is sent again later."),
    h("p", {}, h("a", { href: "#/" }, "All products")));
}

function show() {
  const [, place, id] = location.hash.split("/");
  if (place === "item") item(decodeURIComponent(id || ""));
  else if (place === "basket") basket();
  else products();
}

addEventListener("hashchange", () => { say(""); show(); main.focus(); });
addEventListener("focus", async () => { await refresh(); await reread(); });
document.getElementById("household").addEventListener("submit", (event) => {
  event.preventDefault();
  become(document.getElementById("customer").value.trim());
});

// A campaign may have gone live meanwhile: the household then has a code.
async function reread() {
  const { status, data } = await call(`households/${encodeURIComponent(shop.customer)}`);
  if (status !== 200 || JSON.stringify(data.codes) === JSON.stringify(shop.codes)) return;
  shop.codes = data.codes;
  if (!location.hash.startsWith("#/basket")) show();
}

const first = await refresh();
await become(sessionStorage.getItem("customer") || first.households[0]);
