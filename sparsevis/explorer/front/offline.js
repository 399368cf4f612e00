// A page without Python: the traits of the chosen state stand in for the notebook's model.

const SHARED = @SHARED@;                                            // what all states have in common
const STATES = @STATES@;
const revived = (x) => {
  if (Array.isArray(x)) return x.map(revived);
  if (x === null || typeof x !== "object") return x;
  if ("$bytes" in x) return new DataView(Uint8Array.from(atob(x.$bytes), (c) => c.charCodeAt(0)).buffer);
  return Object.fromEntries(Object.entries(x).map(([key, value]) => [key, revived(value)]));
};
const heard = {},
  names = Object.keys(STATES),
  own = { offline: true, states: names, state: names[0] },
  state = { ...revived(SHARED), ...revived(STATES[names[0]]), ...own };
const model = {
  get: (key) => state[key],
  set(key, value) {
    state[key] = value;
    if (key === "state") Object.assign(state, revived(STATES[value]));
    for (const f of heard[`change:${key}`] ?? []) f();
  },
  on(event, f) { for (const e of event.split(" ")) (heard[e] ??= []).push(f); },
  off() {}, save_changes() {},
};
try {                                                               // in a frame of another page: its light or dark is ours
  const outside = window.frameElement?.ownerDocument.documentElement;
  if (outside) {
    const inside = document.documentElement;
    const follow = () => {
      inside.style.colorScheme = getComputedStyle(outside).colorScheme;
      inside.dataset.theme = outside.dataset.theme ?? "";
    };
    new MutationObserver(follow).observe(outside, { attributes: true });
    document.body.style.background = "transparent";
    follow();
  }
} catch { /* a page of another origin says nothing of itself */ }
render({ model, el: document.getElementById("explorer") });
