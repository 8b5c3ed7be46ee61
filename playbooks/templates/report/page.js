// The page of the fleet. All text gets onto it through textContent: whatever a VM is called, it is text.
// What may be long is drawn when it is opened, or a hundred at a time.
"use strict";
(() => {
  const fleet = JSON.parse(document.getElementById("fleet").textContent);
  const now = Date.parse(fleet.made_at);
  const STEP = 100;
  const WORDS = { act: "act", look: "look", work: "at work", ok: "ok", unknown: "unknown" };
  const RANK = { act: 0, unknown: 1, work: 2, look: 3, ok: 4 };
  const KINDS = {
    unknown: "Hosts of which nothing is known",
    twice: "VMs that run on two hosts",
    absent: "Names that no host has",
    none: "No VM was found",
    unread: "VMs that cannot be read",
    problem: "Problems",
    missing: "Files that are gone",
    interrupted: "Interrupted operations",
    room: "File systems",
    running: "At work",
    moved: "VMs that run on another host",
    kept: "Overlays that are kept",
    orphan: "Overlays that nothing on their host uses",
    strange: "Overlays that no snapshot names",
    unproven: "Snapshots whose past is unproven",
    expired: "Expired snapshots",
    deep: "Deep chains",
    untold: "VMs nothing is told of",
    note: "To be known",
  };
  const ICONS = {
    act: "M12 3 2 20.5h20L12 3Zm0 6.5v5m0 2.6v.4",
    look: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18Zm0-10v5.5m0-9v.4",
    ok: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18Zm-4-8.7 2.8 2.8L16.2 9.5",
  };
  const collator = new Intl.Collator("en", { numeric: true });
  const SVG = "http://www.w3.org/2000/svg";

  const make = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "onclick") made.addEventListener("click", value);
      else if (value !== undefined && value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  };
  const draw = (tag, attributes, ...children) => {
    const made = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const byId = (id) => document.getElementById(id);
  const number = (value) => value.toLocaleString("en");
  const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
  const size = (bytes) => {
    if (bytes === null || bytes === undefined) return "–";
    let unit = 0;
    for (; bytes >= 1024 && unit < 4; unit++) bytes /= 1024;
    return `${unit && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)} ${["B", "KiB", "MiB", "GiB", "TiB"][unit]}`;
  };
  const age = (date) => {
    if (date === null || Number.isNaN(date)) return "–";
    const minutes = Math.max(0, Math.round((now - date) / 60000));
    if (minutes < 90) return `${minutes} min`;
    if (minutes < 48 * 60) return `${Math.round(minutes / 60)} h`;
    return `${number(Math.round(minutes / 1440))} d`;
  };
  const badge = (word) => make("span", { class: `badge ${word}` }, WORDS[word]);
  const sum = (values) => values.reduce((total, value) => total + (value || 0), 0);
  // What is known of a sum: null if nothing is, and "≥ 12" where a part is not known.
  const known = (values) => {
    const told = values.filter((value) => value !== null && value !== undefined);
    return told.length || !values.length ? { sum: sum(told), part: told.length < values.length } : { sum: null, part: false };
  };
  const atLeast = (part, text) => (part ? `≥ ${text}` : text);

  // --- what the tables go by ---------------------------------------------------------------------------------------
  const wordOf = (vm) => {
    if (vm.failed || vm.look === "act") return "act";
    if (vm.operation && vm.operation.running) return "work";
    return vm.look || "unknown";
  };
  const worse = (one, other) => (RANK[one] < RANK[other] ? one : other);
  const told = new Map(); // the worst word of the findings, which know more than the VM itself does
  for (const one of fleet.findings) {
    const key = `${one.host}\n${one.vm ?? ""}`;
    told.set(key, worse(one.word, told.get(key) || "ok"));
  }
  const rowOfVm = (host, vm) => {
    const dates = vm.snapshots.map((one) => Date.parse(one.created_at)).filter((date) => !Number.isNaN(date));
    const layers = vm.chains.flatMap((chain) => chain.layers);
    const owners = new Set(vm.snapshots.map((one) => (one.owned === null ? "not told" : one.owned ? "collection" : "others")));
    const labels = vm.snapshots.flatMap((one) => Object.entries(one.labels || {}).flat());
    const found = told.get(`${host.host}\n${vm.vm}`);
    const overlays = known(vm.chains.length ? layers.filter((one) => one.snapshot !== null).map((one) => one.size) : [null]);
    return {
      host, vm, name: vm.vm, where: host.host, power: vm.state || "–",
      word: found ? worse(found, wordOf(vm)) : wordOf(vm),
      snapshots: vm.failed ? null : vm.snapshots.length,
      oldest: dates.length ? Math.min(...dates) : null,
      depth: vm.chains.length ? Math.max(...vm.chains.map((chain) => chain.depth)) : null,
      cut: vm.chains.some((chain) => !chain.complete),
      overlays: overlays.sum, part: overlays.part || vm.chains.some((chain) => !chain.complete),
      owners: [...owners].sort().join(", ") || "–",
      text: [vm.vm, host.host, ...vm.snapshots.map((one) => one.name), ...labels].join("\n").toLowerCase(),
    };
  };
  const vms = fleet.hosts.flatMap((host) => host.vms.map((vm) => rowOfVm(host, vm)));
  vms.forEach((row, index) => { row.id = `vm-${index}`; });
  const ofHost = new Map(fleet.hosts.map((host) => [host.host, []]));
  for (const row of vms) ofHost.get(row.where).push(row);
  const hosts = fleet.hosts.map((host) => {
    const own = ofHost.get(host.host);
    const dates = own.map((row) => row.oldest).filter((date) => date !== null);
    const rooms = (host.filesystems || []).filter((one) => one.total);
    const used = rooms.map((one) => 1 - one.free / one.total);
    const least = used.indexOf(Math.max(...used));
    const words = [told.get(`${host.host}\n`) || "ok", ...own.map((row) => row.word)];
    const [snapshots, overlays] = [known(own.map((row) => row.snapshots)), known(own.map((row) => row.overlays))];
    return {
      host, name: host.host, word: host.known ? words.reduce(worse) : "unknown",
      vms: host.known ? own.length : null,
      snapshots: host.known ? snapshots.sum : null, unread: snapshots.part,
      oldest: dates.length ? Math.min(...dates) : null,
      overlays: host.known && own.length ? overlays.sum : null, part: overlays.part || own.some((row) => row.part),
      used: least < 0 ? null : used[least], room: least < 0 ? null : rooms[least],
      message: host.msg, text: `${host.host}\n${host.msg}`.toLowerCase(),
    };
  });

  // --- a table that is sorted, filtered and drawn a hundred rows at a time ---------------------------------------------
  const table = (id, noun, rows, columns, line, first) => {
    const body = byId(id).tBodies[0];
    const head = byId(id).tHead;
    const state = { ...first, shown: STEP, rows: [] };
    const draws = () => {
      body.replaceChildren(...state.rows.slice(0, state.shown).map(line));
      byId(`${id}-more`).hidden = state.rows.length <= state.shown;
      byId(`${id}-count`).textContent =
        state.rows.length === rows.length ? plural(rows.length, noun) : `${number(state.rows.length)} of ${plural(rows.length, noun)}`;
      for (const [index, column] of columns.entries()) {
        const sorted = column.key === state.key ? (state.down ? "descending" : "ascending") : "none";
        head.rows[0].cells[index].setAttribute("aria-sort", sorted);
      }
    };
    const value = (row) => (state.key === "word" ? RANK[row.word] : row[state.key]);
    const compare = (one, other) => {
      const [left, right] = [value(one), value(other)];
      if (left === right) return collator.compare(one.name, other.name);
      if (left === null || right === null) return left === null ? 1 : -1; // what is not known comes last, whichever way
      const order = typeof left === "string" ? collator.compare(left, right) : left - right;
      return state.down ? -order : order;
    };
    const update = (keep) => {
      const words = byId(`${id}-find`).value.toLowerCase().split(/\s+/).filter(Boolean);
      const kind = byId(`${id}-word`) ? byId(`${id}-word`).value : "";
      state.rows = rows.filter((row) => words.every((word) => row.text.includes(word)) && (!kind ||
        (kind === "snapshots" ? row.snapshots > 0 : row.word === kind))).sort(compare);
      state.shown = keep ? state.shown : STEP;
      draws();
    };
    head.append(make("tr", {}, ...columns.map((column) => make("th", { scope: "col", class: column.class },
      make("button", { type: "button", onclick: () => {
        state.down = state.key === column.key ? !state.down : Boolean(column.down);
        state.key = column.key;
        update();
      } }, column.title)))));
    for (const control of [byId(`${id}-find`), byId(`${id}-word`)]) if (control) control.addEventListener("input", () => update());
    byId(`${id}-more`).addEventListener("click", () => {
      const before = state.shown;
      state.shown += STEP;
      draws();
      const next = body.querySelectorAll("tr.row")[before];
      if (next) (next.querySelector("button") || next).focus();
    });
    update();
    return { update, body, columns: columns.length };
  };

  // --- one VM ------------------------------------------------------------------------------------------------------
  const treeOf = (row) => {
    const found = new Map(row.vm.snapshots.map((one) => [one.name, one]));
    const nodes = row.vm.tree.map((node, at) => ({ ...node, at, ...found.get(node.name), children: node.children }));
    const byName = new Map(nodes.map((node) => [node.name, node]));
    const lanes = new Map();
    const [gap, height] = [18, 28];
    const [x, y] = [(node) => 8 + lanes.get(node.name) * gap, (node) => node.at * height + height / 2];
    const lines = [];
    for (const node of nodes) {
      if (!lanes.has(node.name)) lanes.set(node.name, 0);
      // The newest child goes on straight down; what branched off before stands beside that line.
      node.children.forEach((name, index) => {
        lanes.set(name, lanes.get(node.name) + (index === node.children.length - 1 ? 0 : 1));
        const child = byName.get(name);
        const straight = x(child) === x(node);
        lines.push(straight ? `M${x(node)} ${y(node)}V${y(child)}`
          : `M${x(node)} ${y(node)}V${y(child) - 8}Q${x(node)} ${y(child)} ${x(node) + 8} ${y(child)}H${x(child)}`);
      });
    }
    const width = 16 + Math.max(0, ...lanes.values()) * gap;
    const label = `Tree of the ${plural(nodes.length, "snapshot")} of ${row.name}`;
    const picture = draw("svg", { width, height: nodes.length * height, role: "img", "aria-label": label },
      draw("title", {}, label),
      ...(lines.length ? [draw("path", { d: lines.join("") })] : []),
      ...nodes.map((node) => draw("circle", { cx: x(node), cy: y(node), r: 4.5,
        class: `${node.current ? "current" : ""} ${node.past === "changed" ? "act" : ""}` })));
    const chips = (node) => [
      node.current && ["current", ""],
      node.include_memory && ["memory", ""],
      node.protected && ["protected", ""],
      node.owned === false && ["by others", ""],
      node.kind === "internal" && ["inside the image", ""],
      node.past === "changed" && ["changed by others", "act"],
      node.past === "unproven" && ["unproven", "look"],
      node.expires && Date.parse(node.expires) <= now && ["expired", "look"],
      node.left_out && node.left_out.length > 0 && [`without ${node.left_out.map((one) => one.target).join(", ")}`, ""],
      ...Object.entries(node.labels || {}).map(([key, value]) => [value ? `${key}: ${value}` : key, ""]),
    ].filter(Boolean).map(([text, tone]) => make("span", { class: `chip ${tone}` }, text));
    const line = (node) => make("tr", {},
      make("th", { scope: "row", style: `padding-left:${8 + width}px;font-weight:500`, title: node.description || null },
        node.name,
        make("span", { class: "hidden" }, node.parent ? `, based on ${node.parent}` : ", a root"),
        ...chips(node)),
      make("td", { class: "number", title: node.created_at }, age(Date.parse(node.created_at))),
      make("td", { class: "number wide" }, node.disks ? size(sum(node.disks.map((disk) => disk.size))) : "–"),
      make("td", { class: "muted wide" }, node.description || ""));
    return make("div", { class: "tree" }, picture, make("table", { "aria-label": `Snapshots of ${row.name}` },
      make("thead", {}, make("tr", {},
        make("th", { scope: "col", style: `padding-left:${8 + width}px` }, "Snapshot"),
        make("th", { scope: "col", class: "number" }, "Age"), make("th", { scope: "col", class: "number wide" }, "Written since"),
        make("th", { scope: "col", class: "wide" }, "Description"))),
      make("tbody", {}, ...nodes.map(line))));
  };
  const chainsOf = (row) => make("table", { "aria-label": `Disks of ${row.name}` },
    make("thead", {}, make("tr", {}, ...["Disk", "Layers", "Size", "Active image"].map((title, index) =>
      make("th", { scope: "col", class: index === 1 || index === 2 ? "number" : index === 3 ? "wide" : null }, title)))),
    make("tbody", {}, ...row.vm.chains.map((chain) => make("tr", {},
      make("th", { scope: "row" }, chain.target), make("td", { class: "number" }, atLeast(!chain.complete, number(chain.depth))),
      make("td", { class: "number" }, atLeast(!chain.complete || chain.layers.some((one) => one.size === null), size(chain.size))),
      make("td", { class: "wide" }, make("code", {}, chain.layers.length ? chain.layers[0].file : "–"))))));
  const detailsOf = (row) => {
    const findings = fleet.findings.filter((one) => one.host === row.where && one.vm === row.name);
    const parts = [];
    if (findings.length) parts.push(make("h3", {}, "What was found"), make("ul", {}, ...findings.map((one) =>
      make("li", {}, badge(one.word), " ", one.text))));
    if (row.vm.tree.length) parts.push(make("h3", {}, "Snapshots"), treeOf(row));
    if (row.vm.chains.length) parts.push(make("h3", {}, "Disks"), chainsOf(row));
    if (!parts.length) parts.push(make("p", { class: "muted", style: "padding-top:12px" }, row.vm.msg));
    return parts;
  };
  const opened = new Set();
  const lineOfVm = (row) => {
    const line = make("tr", { class: "row" },
      make("td", { class: "name" },
        make("button", { type: "button", id: row.id, "aria-expanded": "false", "aria-label": `${row.name} on ${row.where}`, onclick: () => toggle(row, line) }, row.name),
        make("small", {}, row.where)),
      make("td", { class: "wide" }, row.where),
      make("td", {}, badge(row.word)),
      make("td", { class: "wide" }, row.power),
      make("td", { class: "number" }, row.snapshots === null ? "–" : number(row.snapshots)),
      make("td", { class: "number", title: row.oldest ? new Date(row.oldest).toISOString() : null }, age(row.oldest)),
      make("td", { class: "number wide" }, row.depth === null ? "–" : atLeast(row.cut, number(row.depth))),
      make("td", { class: "number wide" }, atLeast(row.part, size(row.overlays))),
      make("td", { class: "wide muted" }, row.owners));
    if (opened.has(row)) setTimeout(() => { opened.delete(row); toggle(row, line); });
    return line;
  };
  const toggle = (row, line) => {
    const button = line.querySelector("button");
    const open = !opened.has(row);
    button.setAttribute("aria-expanded", open);
    if (open) {
      opened.add(row);
      line.after(make("tr", { class: "details" }, make("td", { colspan: vmTable.columns }, make("div", {}, ...detailsOf(row)))));
    } else {
      opened.delete(row);
      if (line.nextSibling && line.nextSibling.className === "details") line.nextSibling.remove();
    }
  };
  const show = (host, vm) => {
    const row = vm && ofHost.get(host).find((one) => one.name === vm);
    byId("vms-find").value = vm ? `${host} ${vm}` : host;
    byId("vms-word").value = "";
    opened.clear();
    vmTable.update();
    const line = row && byId(row.id);
    if (line) line.click();
    byId("vms-title").scrollIntoView({ behavior: "smooth" });
    (line || byId("vms-find")).focus({ preventScroll: true });
  };

  // --- what needs a hand -------------------------------------------------------------------------------------------
  const counts = fleet.counts;
  const verdict = () => {
    const big = counts.act ? `${plural(counts.act, "thing")} ${counts.act === 1 ? "needs" : "need"} a hand`
      : counts.look ? "Nothing needs a hand now" : "All is well";
    const rest = [];
    if (counts.unknown_hosts) rest.push(`${number(counts.unknown_hosts)} of ${plural(counts.hosts, "host")} unknown`);
    if (counts.unknown_vms) rest.push(`${number(counts.unknown_vms)} of ${plural(counts.vms, "VM")} unknown`);
    if (counts.look) rest.push(`${plural(counts.look, "thing")} to look at, without hurry`);
    if (counts.work) rest.push(`${number(counts.work)} at work`);
    const text = rest.join(" · ") || (counts.act ? "Begin with the first." : "No host, VM or snapshot of the fleet waits for anybody.");
    return make("div", { class: `verdict ${fleet.word}` },
      draw("svg", { viewBox: "0 0 24 24", "aria-hidden": "true", fill: "none", stroke: "currentColor", "stroke-width": 1.8,
        "stroke-linecap": "round", "stroke-linejoin": "round" }, draw("path", { d: ICONS[fleet.word] })),
      make("div", {}, make("strong", {}, big), make("span", {}, text)));
  };
  const lineOfFinding = (one) => make("li", {},
    make("div", { class: "where" }, one.host === null ? one.vm :
      make("a", { href: "#vms-title", "aria-label": one.vm === null ? `VMs of ${one.host}` : `${one.vm} on ${one.host}`, onclick: (event) => { event.preventDefault(); show(one.host, one.vm); } }, one.vm === null ? one.host : one.vm),
      one.vm === null || one.host === null ? null : make("small", {}, one.host)),
    make("div", { class: "text" }, one.text));
  const group = (kind, list) => {
    const word = list[0].word;
    const items = make("ul");
    const more = make("button", { type: "button", class: "quiet", hidden: true, onclick: () => grow() }, "Show more");
    const grow = () => {
      const from = items.children.length;
      items.append(...list.slice(from, from + STEP).map(lineOfFinding));
      more.hidden = items.children.length >= list.length;
    };
    const box = make("details", { class: `group ${word}` },
      make("summary", {}, badge(word), KINDS[kind] || kind, make("small", {}, number(list.length))), items, more);
    box.addEventListener("toggle", () => { if (box.open && !items.children.length) grow(); });
    if (word !== "look") { grow(); box.open = true; }
    return box;
  };
  const groups = new Map();
  for (const one of fleet.findings) {
    const key = `${one.word} ${one.kind}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(one);
  }

  // --- the page ----------------------------------------------------------------------------------------------------
  byId("made").textContent = `As of ${fleet.made_at.replace("T", " ").replace("+00:00", " UTC")}`;
  byId("verdict").append(verdict());
  const total = known(vms.map((row) => row.overlays));
  const unread = fleet.hosts.some((host) => !host.known) || vms.some((row) => row.snapshots === null);
  byId("counts").append(...[["hosts", number(counts.hosts)], ["VMs", atLeast(counts.unknown_hosts, number(counts.vms))],
    ["snapshots", atLeast(unread, number(counts.snapshots))],
    ["in overlays", atLeast(unread || total.part || vms.some((row) => row.part), size(total.sum))]]
    .map(([title, value]) => make("div", {}, make("dt", {}, title), make("dd", {}, value))));
  const order = Object.keys(KINDS);
  const RANKED = ["act", "work", "look"];
  byId("findings").append(...[...groups.values()]
    .sort((one, other) => RANKED.indexOf(one[0].word) - RANKED.indexOf(other[0].word) || order.indexOf(one[0].kind) - order.indexOf(other[0].kind))
    .map((list) => group(list[0].kind, list)));
  const tone = (used) => (used > 0.95 ? "act" : used > 0.9 ? "look" : "");
  const lineOfHost = (row) => make("tr", { class: "row" },
    make("td", { class: "name" }, make("button", { type: "button", "aria-label": `VMs of ${row.name}`, onclick: () => show(row.name, null) }, row.name)),
    make("td", {}, badge(row.word)),
    make("td", { class: "number" }, row.vms === null ? "–" : number(row.vms)),
    make("td", { class: "number" }, row.snapshots === null ? "–" : atLeast(row.unread, number(row.snapshots))),
    make("td", { class: "number wide" }, age(row.oldest)),
    make("td", { class: "number wide" }, atLeast(row.part, size(row.overlays))),
    make("td", { class: "number wide", title: row.room && `${row.room.path}: ${size(row.room.free)} free of ${size(row.room.total)}` },
      row.used === null ? "–" : `${Math.round(100 * row.used)} %`,
      row.used === null ? null : make("span", { class: `meter ${tone(row.used)}` }, make("i", { style: `width:${100 * row.used}%` }))),
    make("td", { class: "message wide" }, row.message));
  table("hosts", "host", hosts, [
    { key: "name", title: "Host" }, { key: "word", title: "State" }, { key: "vms", title: "VMs", class: "number", down: true },
    { key: "snapshots", title: "Snapshots", class: "number", down: true }, { key: "oldest", title: "Oldest", class: "number wide" },
    { key: "overlays", title: "Overlays", class: "number wide", down: true }, { key: "used", title: "Fullest storage", class: "number wide", down: true },
    { key: "message", title: "It says", class: "wide" },
  ], lineOfHost, { key: "word", down: false });
  const vmTable = table("vms", "VM", vms, [
    { key: "name", title: "VM" }, { key: "where", title: "Host", class: "wide" }, { key: "word", title: "State" },
    { key: "power", title: "Power", class: "wide" }, { key: "snapshots", title: "Snapshots", class: "number", down: true },
    { key: "oldest", title: "Oldest", class: "number" }, { key: "depth", title: "Layers", class: "number wide", down: true },
    { key: "overlays", title: "Overlays", class: "number wide", down: true }, { key: "owners", title: "Taken by", class: "wide" },
  ], lineOfVm, { key: "word", down: false });
  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  document.documentElement.dataset.ready = Math.round(performance.now()); // the tests ask for it
})();
