"""A page that plays frames: play and pause, one frame back and on, a slider, the keys left, right and space. It needs no network.

It starts by itself unless the reader has asked for less motion; no other code than what stands here runs in it.
"""

from base64 import b64encode
from html import escape

from sparsevis.palette import DARK, LIGHT

__all__ = ["page"]


def page(frames, name, paper, step, hold):
    """Return the page, as text, of PNG files: `step` milliseconds each, `hold` the last.

    >>> "data:image/png;base64,UE5H" in page([b"PNG"], "A picture", "#FFFFFF", 500, 2000)
    True
    """
    palette = DARK if paper == DARK["paper"] else LIGHT
    coded = [b64encode(frame).decode() for frame in frames]
    words = {"PAPER": paper, "INK": palette["ink"], "SOFT": palette["soft"], "NAME": escape(name, quote=True), "LAST": f"{len(coded) - 1}",
             "STEP": f"{step:.0f}", "HOLD": f"{hold:.0f}", "FIRST": coded[0], "FRAMES": ",".join(f'"{x}"' for x in coded)}  # fmt: skip
    text = PLAYER
    for word, stands_for in words.items():
        text = text.replace(f"@{word}@", stands_for)
    return text


PLAYER = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>@NAME@</title>
<style>
body{margin:0;background:@PAPER@;color:@INK@;font:14px system-ui,sans-serif}
main{display:inline-block;max-width:100%}
img{display:block;max-width:100%;max-height:calc(100vh - 52px)}
div{display:flex;align-items:center;gap:10px;padding:8px 14px;box-sizing:border-box}
button{all:unset;box-sizing:border-box;width:34px;height:34px;border-radius:17px;text-align:center;cursor:pointer;line-height:34px}
button:hover{background:@SOFT@40}
button:focus-visible,input:focus-visible{outline:2px solid #56B4E9;outline-offset:1px}
svg{width:16px;height:16px;fill:currentColor;vertical-align:-2px}
input{flex:1;min-width:60px;accent-color:#0072B2}
output{color:@SOFT@;font-variant-numeric:tabular-nums;white-space:nowrap}
</style></head><body><main>
<img id="frame" alt="@NAME@" src="data:image/png;base64,@FIRST@">
<div role="group" aria-label="player">
<button id="back" aria-label="one frame back"><svg viewBox="0 0 16 16"><path d="M12 2v12L5 8z"/><path d="M3 2h2v12H3z"/></svg></button>
<button id="play" aria-label="play"></button>
<button id="on" aria-label="one frame on"><svg viewBox="0 0 16 16"><path d="M4 2v12l7-6z"/><path d="M11 2h2v12h-2z"/></svg></button>
<input id="at" type="range" min="0" max="@LAST@" value="0" aria-label="frame"><output id="count"></output>
</div></main>
<script>
const frames = [@FRAMES@], $ = id => document.getElementById(id), last = frames.length - 1;
const icon = {play: "M3 1.5v13L14 8z", pause: "M3 2h3.5v12H3zM9.5 2H13v12H9.5z"};
let now = 0, timer = null;
function show(x) {
  now = Math.max(0, Math.min(last, x));
  $("frame").src = "data:image/png;base64," + frames[now];
  $("at").value = now;
  $("count").textContent = (now + 1) + " / " + frames.length;
}
function button() {
  const name = timer === null ? "play" : "pause";
  $("play").innerHTML = '<svg viewBox="0 0 16 16"><path d="' + icon[name] + '"/></svg>';
  $("play").setAttribute("aria-label", name);
}
function tick() {
  show(now === last ? 0 : now + 1);
  timer = setTimeout(tick, now === last ? @HOLD@ : @STEP@);
}
function pause() { clearTimeout(timer); timer = null; button(); }
function play() { timer = setTimeout(tick, now === last ? 0 : @STEP@); button(); }
$("play").onclick = () => timer === null ? play() : pause();
$("back").onclick = () => { pause(); show(now - 1); };
$("on").onclick = () => { pause(); show(now + 1); };
$("at").oninput = e => { pause(); show(+e.target.value); };
document.onkeydown = e => {
  if (e.key === "ArrowLeft") { pause(); show(now - 1); e.preventDefault(); }
  else if (e.key === "ArrowRight") { pause(); show(now + 1); e.preventDefault(); }
  else if (e.key === " " && e.target.tagName !== "BUTTON") { $("play").onclick(); e.preventDefault(); }
};
show(0);
if (last > 0 && !matchMedia("(prefers-reduced-motion: reduce)").matches) play(); else button();
</script></body></html>
"""
