/* Send views, searches and carts of the shop's pages to the retention desk.
   <script src="https://DESK/events.js" data-key="PUBLIC KEY" data-customer="ID" async></script>
   retention.view("ITEM"), retention.search("WORDS"), retention.cart("ITEM", 2)
   Without data-customer, call retention.identify("ID") after the customer has signed in.
   data-clock-offset: milliseconds to add to the device's clock, if the server knows better. */
(function () {
  "use strict";
  var script = document.currentScript;
  if (!script || window.retention) return;
  var url = new URL("/events/browser", script.src).href;
  var key = script.dataset.key, customer = script.dataset.customer || "";
  var waiting = [], timer = 0;

  function id() {
    if (window.crypto && crypto.randomUUID) return crypto.randomUUID();
    return Date.now().toString(36) + Math.random().toString(36).slice(2);
  }

  function send() {
    clearTimeout(timer);
    timer = 0;
    if (!waiting.length) return;
    var events = waiting.splice(0, 100);
    // text/plain needs no preflight; keepalive survives leaving the page.
    fetch(url + "?key=" + encodeURIComponent(key), {
      method: "POST", keepalive: true, credentials: "omit",
      headers: { "Content-Type": "text/plain" }, body: JSON.stringify(events)
    }).then(function (answer) {
      if (answer.status === 429 || answer.status === 503) again(events);
    }, function () { again(events); });
  }

  function again(events) {
    // The events keep their ids, so a repeat counts once.
    waiting = events.concat(waiting).slice(0, 500);
    if (!timer) timer = setTimeout(send, 30000);
  }

  function add(type, fields) {
    if (!customer) return;
    var event = { event_id: id(), customer_id: customer, event_type: type, channel: "web",
                  occurred_at: new Date(Date.now() + Number(script.dataset.clockOffset || 0)).toISOString() };
    Object.keys(fields).forEach(function (name) {
      if (fields[name] !== undefined && fields[name] !== "") event[name] = fields[name];
    });
    waiting.push(event);
    if (!timer) timer = setTimeout(send, 1000);
  }

  addEventListener("pagehide", send);
  window.retention = {
    identify: function (name) { customer = String(name || ""); },
    view: function (item) { add("view", { item_id: item }); },
    search: function (words) { add("search", { query: words }); },
    cart: function (item, quantity) { add("cart", { item_id: item, quantity: quantity }); }
  };
  if (script.dataset.item) add("view", { item_id: script.dataset.item });
})();
