/* Show the shop's chat.
   <script src="https://DESK/service.js" data-key="PUBLIC KEY" async
     data-customer="ID" data-expires="SECONDS" data-signature="HEX"></script>
   The shop's server signs the customer; leave these three out for a visitor.
   After a sign-in without a new page: retentionChat.identify("ID", SECONDS, "HEX"), or identify(). */
(function () {
  "use strict";
  var script = document.currentScript;
  if (!script || window.retentionChat) return;
  var url = new URL("/service", script.src).href, key = script.dataset.key;
  var texts = {
    en: { open: "Chat", title: "Customer service", close: "Close the chat", label: "Your message", send: "Send",
      person: "Talk to a person", hello: "Ask about delivery, returns, products or your orders.",
      you: "You", desk: "Answer", team: "Colleague", source: "Source", unsent: "Not sent. Trying again …" },
    zh: { open: "在线咨询", title: "客户服务", close: "关闭聊天", label: "您的消息", send: "发送",
      person: "转人工", hello: "您可以询问配送、退货、商品或您的订单。",
      you: "您", desk: "答复", team: "客服人员", source: "来源", unsent: "未发送，正在重试……" }
  };
  var language = (script.dataset.lang || document.documentElement.lang || "en").slice(0, 2);
  var say = texts[language] || texts.en;
  var identity = null, token = "", after = 0, waiting = [], timer = 0, quiet = 0, busy = false;

  function node(name, fields, children) {
    var made = Object.assign(document.createElement(name), fields);
    (children || []).forEach(function (child) { made.append(child); });
    return made;
  }

  var style = new CSSStyleSheet();
  style.replaceSync(
    ":host{all:initial;font:16px/1.45 system-ui,sans-serif;color-scheme:light}" +
    "*{box-sizing:border-box;font:inherit}[hidden]{display:none!important}" +
    "button{border:1px solid #1d4ed8;border-radius:8px;background:#fff;color:#1d4ed8;padding:8px 14px;min-height:44px;cursor:pointer}" +
    "button.main{background:#1d4ed8;color:#fff}:focus-visible{outline:3px solid #f59e0b;outline-offset:2px}" +
    ".open{position:fixed;right:16px;bottom:16px;z-index:9999;box-shadow:0 2px 8px #0004}" +
    "section{position:fixed;right:16px;bottom:16px;z-index:9999;width:min(380px,calc(100vw - 32px));height:min(560px,calc(100vh - 32px));" +
    "display:flex;flex-direction:column;background:#fff;color:#1f2937;border:1px solid #9ca3af;border-radius:12px;box-shadow:0 8px 30px #0003}" +
    "header{display:flex;align-items:center;justify-content:space-between;padding:6px 6px 6px 16px;border-bottom:1px solid #d1d5db}" +
    "h2{font-weight:600;margin:0}header button{border:0}" +
    ".log{flex:1;overflow-y:auto;padding:12px 16px;overflow-wrap:anywhere}.log div{margin:0 0 12px;white-space:pre-line}" +
    ".log b{display:block;font-size:13px;font-weight:600;color:#4b5563}.log .customer{text-align:right}" +
    ".log small{display:block;font-size:13px;color:#4b5563}.log a{color:#1d4ed8}.note{min-height:20px;padding:0 16px;font-size:13px;color:#b91c1c}" +
    "form{display:grid;grid-template-columns:1fr auto;gap:8px;padding:8px 16px 16px}" +
    "textarea{width:100%;height:56px;resize:none;border:1px solid #6b7280;border-radius:8px;padding:8px;color:inherit;background:#fff}" +
    "label{grid-column:1/3;font-size:13px}form .person{grid-column:1/3}");

  var log = node("div", { className: "log", role: "log", tabIndex: 0 });
  log.setAttribute("aria-live", "polite");
  log.setAttribute("aria-label", say.title);
  var note = node("div", { className: "note", role: "status" });
  var box = node("textarea", { id: "text", maxLength: 1000, required: true });
  var form = node("form", {}, [
    node("label", { htmlFor: "text", textContent: say.label }), box,
    node("button", { className: "main", textContent: say.send }),
    node("button", { className: "person", type: "button", textContent: say.person, onclick: function () { add(say.person); } })
  ]);
  var closer = node("button", { type: "button", textContent: "×", ariaLabel: say.close, onclick: hide });
  var panel = node("section", { hidden: true, ariaLabel: say.title }, [node("header", {}, [node("h2", { textContent: say.title }), closer]), log, note, form]);
  var opener = node("button", { className: "open main", type: "button", textContent: say.open, onclick: show });
  var host = node("div", { lang: texts[language] ? language : "en" });
  var root = host.attachShadow({ mode: "open" });
  root.adoptedStyleSheets = [style];
  root.append(opener, panel);

  function show() {
    panel.hidden = false;
    opener.hidden = true;
    box.focus();
    quiet = 0;
    poll();
  }

  function hide() {
    panel.hidden = true;
    opener.hidden = false;
    opener.focus();
    clearTimeout(timer);
  }

  function random(bytes) {
    return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), function (one) {
      return one.toString(16).padStart(2, "0");
    }).join("");
  }

  // The next person at this browser must not read the chat: each customer has one of their own. A
  // visitor who signs in takes theirs along.
  function slot(visitor) { return "retention-chat:" + (identity && !visitor ? identity.customer : ""); }

  // A page may forbid storage; then the chat lives as long as the page.
  function keep() {
    try { sessionStorage.setItem(slot(), JSON.stringify({ token: token, waiting: waiting })); } catch (error) {}
  }

  function begin(anew) {
    var known = null;
    try {
      known = anew ? null : JSON.parse(sessionStorage.getItem(slot()) || sessionStorage.getItem(slot(true)));
      sessionStorage.removeItem(slot(true));
    } catch (error) {}
    token = known ? known.token : random(32);
    waiting = known ? known.waiting : [];
    after = 0;
    log.replaceChildren(node("div", { textContent: say.hello }));
    keep();
    poll();
  }

  function add(text) {
    waiting.push({ id: random(16), text: text });
    keep();
    send();
  }

  function call(path, options) {
    return fetch(url + path + "key=" + encodeURIComponent(key), Object.assign({ credentials: "omit", cache: "no-store" }, options));
  }

  function send() {
    if (busy || !waiting.length) return;
    busy = true;
    var said = { token: token, id: waiting[0].id, text: waiting[0].text };
    if (identity && identity.signature) said.identity = identity;
    function done(problem) {
      note.textContent = problem;
      if (said.token !== token) return;  // another customer has signed in since
      waiting.shift();
      keep();
    }
    // A message keeps its id until it is stored, so a repeat counts once.
    call("?", { method: "POST", headers: { "Content-Type": "text/plain" }, body: JSON.stringify(said) })
      .then(function (answer) {
        if (answer.status === 202) return done("");
        if (answer.status === 429 || answer.status >= 500) throw answer.status;
        return answer.json().then(function (problem) {
          done(problem.error);
          if (problem.code === "signature") identity.signature = "";  // the chat stays this customer's
          if (problem.code === "other_customer") begin(true);
        });
      })
      .catch(function () { note.textContent = say.unsent; setTimeout(send, 3000); })
      .finally(function () { busy = false; quiet = 0; if (!note.textContent) send(); poll(); });
  }

  function poll() {
    clearTimeout(timer);
    if (panel.hidden) return;
    quiet += 1;
    timer = setTimeout(poll, quiet < 60 ? 2000 : 10000);
    var asked = token;
    call("?after=" + after + "&", { headers: { Authorization: "Bearer " + token } })
      .then(function (answer) { return answer.ok ? answer.json() : { messages: [] }; })
      .then(function (answer) { if (asked === token) answer.messages.forEach(draw); })
      .catch(function () {});
  }

  function draw(message) {
    if (message.seq <= after) return;
    after = message.seq;
    quiet = 0;
    var line = node("div", { className: message.author }, [node("b", { textContent: say[{ customer: "you" }[message.author] || message.author] }), message.text]);
    message.sources.forEach(function (source) {
      var name = source.url ? node("a", { href: source.url, textContent: source.title, target: "_blank", rel: "noopener" }) : source.title;
      line.append(node("small", {}, [say.source + ": ", name]));
    });
    log.append(line);
    log.scrollTop = log.scrollHeight;
  }

  form.addEventListener("submit", function (event) {
    event.preventDefault();
    if (!box.value.trim()) return;
    add(box.value.trim());
    box.value = "";
    box.focus();
  });
  box.addEventListener("keydown", function (event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); form.requestSubmit(); }
  });
  panel.addEventListener("keydown", function (event) { if (event.key === "Escape") hide(); });

  window.retentionChat = {
    identify: function (customer, expires, signature) {
      identity = customer ? { customer: String(customer), expires: Number(expires), signature: String(signature) } : null;
      begin();
    }
  };
  var data = script.dataset;
  window.retentionChat.identify(data.customer, data.expires, data.signature);
  document.body.append(host);
})();
