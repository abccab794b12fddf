// Reads radiographs one after the other, each by a request of its own. Without this script the form does it alone.
"use strict";
(() => {
  const by = (id) => document.getElementById(id);
  const form = by("form"), input = by("file"), drop = by("drop"), chosen = by("chosen"), list = by("list");
  const state = by("state"), results = by("results");
  const most = Number(form.dataset.most), mostText = form.dataset.mostText;
  const AT_ONCE = 2; // the next one travels while the server reads the last
  const RETRIES = 5;
  let files = [];
  const waiting = [];
  let running = 0;
  let done = 0, all = 0;
  document.documentElement.classList.add("js");

  function element(name, text, className) {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function showChosen() {
    // The files are kept here: those that were dropped, and those of earlier choices, are not in the input.
    input.required = files.length === 0;
    chosen.replaceChildren(...files.map((file, n) => {
      const line = element("li"), remove = element("button", "Remove", "plain");
      remove.type = "button";
      remove.setAttribute("aria-label", `Remove ${file.name}`);
      remove.addEventListener("click", () => {
        files.splice(n, 1);
        showChosen();
        input.focus();
      });
      line.append(element("span", file.name), remove);
      return line;
    }));
    state.textContent = files.length ? `${files.length} chosen` : "";
  }

  function add(more) {
    files.push(...more);
    input.value = "";
    showChosen();
  }

  function fieldsOf() {
    const data = new FormData(form);
    data.delete("file");
    return [...data.entries()];
  }

  class Item {
    constructor(file, fields) {
      this.file = file;
      this.fields = fields;
      this.tries = 0;
      this.line = element("li");
      list.append(this.line);
      this.say("waits");
    }

    say(text, progress) {
      const row = element("div", "", "pending"), bar = element("progress");
      bar.setAttribute("aria-label", `Progress of ${this.file.name}`);
      if (progress !== undefined) { bar.max = 1; bar.value = progress; }
      row.append(element("span", this.file.name, "name"), bar, element("span", text));
      this.line.replaceChildren(row);
    }

    fail(text) {
      const row = element("div", "", "pending"), again = element("button", "Try again", "plain");
      again.type = "button";
      again.addEventListener("click", () => {
        this.fields = fieldsOf(); // sex and age as they are chosen now
        this.tries = 0;
        all += 1;
        this.say("waits");
        waiting.push(this);
        next();
      });
      row.append(element("span", this.file.name, "name"), again, element("span", text, "failed-text"));
      this.line.replaceChildren(row);
    }

    show(html) {
      // Without the head: its styles are those of this page, and bear the mark of another.
      const content = html.slice(html.indexOf("<main>"), html.indexOf("</main>"));
      const parsed = new DOMParser().parseFromString(content, "text/html").querySelector("details.result");
      if (!parsed) return this.fail("The answer cannot be understood.");
      const made = document.importNode(parsed, true);
      made.open = all === 1;
      this.line.replaceChildren(made);
    }

    send(ended) {
      if (this.file.size > most) {
        this.fail(`The file has ${(this.file.size / 1048576).toFixed(1)} MiB, expected at most ${mostText}.`);
        return ended();
      }
      const data = new FormData(), request = new XMLHttpRequest();
      this.fields.forEach(([name, value]) => data.append(name, value));
      data.append("file", this.file, this.file.name);
      request.open("POST", form.action);
      request.setRequestHeader("Accept", "text/html, application/problem+json;q=0.9");
      request.upload.addEventListener("progress", (event) => {
        if (event.lengthComputable && event.loaded < event.total) this.say("is sent", event.loaded / event.total);
      });
      request.upload.addEventListener("load", () => this.say("is read"));
      request.addEventListener("load", () => {
        if (request.status === 200) this.show(request.responseText);
        else if (request.status === 503 && this.tries < RETRIES) return this.later(request, ended);
        else this.fail(reason(request));
        ended();
      });
      request.addEventListener("error", () => {
        this.fail("The server cannot be reached, or has refused the file. Look whether it runs.");
        ended();
      });
      this.say("is sent", 0);
      request.send(data);
    }

    later(request, ended) {
      const seconds = Number(request.getResponseHeader("Retry-After")) || 2;
      this.tries += 1;
      this.say(`waits ${seconds} s, the server is busy`);
      setTimeout(() => this.send(ended), 1000 * seconds);
    }
  }

  function reason(request) {
    try {
      const problem = JSON.parse(request.responseText);
      const found = problem.found ? `Found: ${problem.found}.` : "";
      const expected = problem.expected ? `Expected: ${problem.expected}.` : "";
      return [problem.detail, found, expected, problem.advice].filter(Boolean).join(" ");
    } catch {
      return request.status === 401 ? "Log in again: open this page anew." : `The server answered ${request.status}.`;
    }
  }

  function next() {
    while (running < AT_ONCE && waiting.length) {
      running += 1;
      waiting.shift().send(() => {
        running -= 1;
        done += 1;
        next();
      });
    }
    state.textContent = done < all ? `${done} of ${all} read` : `${all} done`;
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!files.length) return;
    const fields = fieldsOf();
    results.hidden = false;
    if (!waiting.length && !running) done = all = 0;
    all += files.length;
    waiting.push(...files.map((file) => new Item(file, fields)));
    files = [];
    form.reset(); // sex and age were those of these children
    showChosen();
    next();
  });
  input.addEventListener("change", () => add([...input.files]));
  for (const name of ["dragenter", "dragover"]) {
    drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => { event.preventDefault(); add([...event.dataTransfer.files]); });
  // A file that is dropped beside the form would replace the page.
  for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());
})();
