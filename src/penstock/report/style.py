"""How a page looks: one style sheet, for paper, phones, the light and the dark. Part of the room of reports."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1c2024;--muted:#5a6370;--line:#e3e6ea;--soft:#f5f6f8;
--accent:#1662b4;--tint:#d3e2f3;--second:#8a929c;--bad:#b42318;--mid:#8a5a00}
@media (prefers-color-scheme:dark){:root{--paper:#131518;--ink:#e7e9ec;--muted:#a0a8b2;--line:#2b3036;
--soft:#1b1e22;--accent:#72b0f3;--tint:#23405f;--second:#7e8791;--bad:#ff8f85;--mid:#e3b565}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans","PingFang SC","Microsoft YaHei","Noto Sans CJK SC",sans-serif;font-variant-numeric:tabular-nums}
main,header,footer{max-width:1120px;margin:0 auto;padding:0 20px}
header{padding-top:56px}
h1{font-size:30px;line-height:1.2;letter-spacing:-.015em;margin:0 0 10px;font-weight:650;overflow-wrap:anywhere}
h2{font-size:22px;line-height:1.3;letter-spacing:-.01em;margin:0 0 8px;font-weight:620}
h3{font-size:16px;margin:40px 0 10px;font-weight:620}
h4{font-size:14px;margin:0;font-weight:600;overflow-wrap:anywhere}
p{margin:0 0 14px;max-width:70ch}
.grid+h4{margin-top:34px}
.kind{color:var(--accent);font-size:13px;font-weight:600;margin:0 0 8px}
.sentence{font-size:18px;line-height:1.5;max-width:64ch}
.lead,figcaption,small,.muted{color:var(--muted)}
.lead{font-size:15px}
i{font-style:normal;color:var(--muted)}
nav{margin:22px 0 0;padding:12px 0;border-top:1px solid var(--line);border-bottom:1px solid var(--line);font-size:14px;
display:flex;flex-wrap:wrap;gap:6px 20px}
a{color:var(--accent);text-decoration:none}
a:hover{text-decoration:underline}
nav a{color:var(--muted)}
section{padding:56px 0 0}
footer{margin-top:72px;padding-top:18px;padding-bottom:56px;color:var(--muted);font-size:13px}
footer p{border-top:1px solid var(--line);padding-top:18px;max-width:none}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:26px 24px;margin:26px 0 8px}
.tile span,.tile small{display:block;font-size:13px;color:var(--muted);overflow-wrap:anywhere}
.tile b{display:block;font-size:26px;line-height:1.3;font-weight:600;letter-spacing:-.02em;overflow-wrap:anywhere}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,300px),1fr));gap:36px 36px;margin:22px 0 8px}
figure{margin:0;min-width:0}
figure svg{display:block;width:100%;height:auto;margin:8px 0 2px;overflow:visible;stroke-linejoin:round}
figcaption{font-size:13px;line-height:1.45;overflow-wrap:anywhere}
.legend{display:flex;flex-wrap:wrap;align-items:center;gap:2px 8px}
.key{width:22px;border-top:2.5px solid var(--accent)}
.key.dashed{border-top:2px dashed var(--second);margin-left:12px}
svg text{font-family:inherit}
.tag{color:var(--muted);font-size:12.5px;font-weight:400;margin-left:8px}
.scroll{overflow-x:auto;margin:14px 0 6px;-webkit-overflow-scrolling:touch}
.scroll:focus-visible,a:focus-visible,summary:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
table{border-collapse:collapse;font-size:14px;line-height:1.4;min-width:100%}
th{color:var(--muted);font-weight:500;text-align:left;font-size:13px;white-space:nowrap}
td,th{padding:7px 18px 7px 0;border-bottom:1px solid var(--line);vertical-align:top}
td:last-child,th:last-child{padding-right:0}
td{max-width:340px;overflow-wrap:break-word}
.scroll td:not(.n){min-width:110px}
.wide td:last-child{min-width:280px!important;max-width:520px}
.n{text-align:right;white-space:nowrap;padding-right:28px}
.narrow{min-width:min(100%,500px)}
tr.kept td{font-weight:600}
.heat{min-width:0}
.scroll .heat td{min-width:0}
.heat td{text-align:right;padding:6px 9px;white-space:nowrap;border:0;
background:color-mix(in srgb,var(--accent) var(--v,0%),var(--paper))}
.heat td.neg{background:color-mix(in srgb,var(--second) var(--v,0%),var(--paper))}
.heat th{padding:6px 10px 6px 0;border:0}
.heat thead th{padding:6px 9px;text-align:right;vertical-align:bottom}
.bars{list-style:none;margin:14px 0 6px;padding:0;font-size:14px;display:grid;align-items:center;
grid-template-columns:minmax(90px,24%) 1fr auto;gap:6px 14px}
.bars li{display:contents}
.bars .l{overflow-wrap:anywhere;line-height:1.3}
.bars .b{background:var(--soft);height:10px;border-radius:2px;overflow:hidden}
.bars .b i{display:block;height:100%;background:var(--accent)}
.bars .v{text-align:right;color:var(--muted);white-space:nowrap}
.bars.means .b i{background:var(--second)}
figure .bars{margin:8px 0 4px;font-size:13px;grid-template-columns:minmax(80px,42%) 1fr auto;gap:3px 10px}
.bars .rest .b i{background:var(--tint)}
.bars small{font-size:inherit}
.alone{font-size:13px;margin:14px 0 0}
.mistakes{list-style:none;margin:18px 0;padding:0;font-size:14px}
.mistakes li{display:grid;grid-template-columns:minmax(200px,28%) 1fr;gap:8px 28px;padding:12px 0;
border-top:1px solid var(--line)}
.mistakes small{display:block;font-size:13px;overflow-wrap:anywhere}
.row{display:flex;flex-wrap:wrap;gap:2px 16px;min-width:0}
.row span{overflow-wrap:anywhere;min-width:0}
.row details{flex-basis:100%;margin:4px 0}
.row details span{margin-right:16px}
.pictures,.augmented{list-style:none;margin:18px 0 8px;padding:0;font-size:13px;line-height:1.35}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(100px,1fr));gap:20px 14px}
.pictures.strips{grid-template-columns:repeat(auto-fill,minmax(min(100%,420px),1fr))}
.pictures li{min-width:0;display:flex;flex-direction:column;overflow-wrap:anywhere}
.pictures:not(.strips) li{max-width:150px}
.pictures b,.augmented b{font-weight:600}
.pictures span{color:var(--muted)}
.pictures .wrong{color:var(--bad)}
.pictures small{font-size:12px;overflow-wrap:anywhere}
.frames{display:flex;flex-wrap:wrap;gap:3px;margin-bottom:6px;align-items:flex-end}
.pictures:not(.strips) .frames{min-height:96px}
.frames img{display:block;max-width:100%;height:auto;border-radius:2px;background:var(--soft)}
.frames .dots{image-rendering:pixelated}
.strips .frames img{width:calc(25% - 3px)}
.augmented li{display:flex;gap:14px;align-items:flex-start;padding:12px 0;border-top:1px solid var(--line)}
.augmented li>i{line-height:96px}
.after{display:flex;flex-wrap:wrap;gap:10px;min-width:0}
.pairs{display:grid;grid-template-columns:minmax(110px,200px) 1fr;gap:6px 20px;font-size:14px;margin:14px 0}
.pairs dt{color:var(--muted)}
.pairs dd{margin:0;overflow-wrap:anywhere;min-width:0}
.warnings{list-style:none;padding:0;margin:18px 0 6px}
header .warnings{margin-bottom:-22px}
.warnings li{padding:10px 0;border-top:1px solid var(--line);display:grid;grid-template-columns:76px 1fr;gap:16px}
.warnings li:last-child{border-bottom:1px solid var(--line)}
.warnings .s{font-size:13px;color:var(--muted);padding-top:1px}
.warnings .high .s{color:var(--bad);font-weight:600}
.warnings .medium .s{color:var(--mid);font-weight:600}
.warnings b{font-weight:600;overflow-wrap:anywhere}
.warnings small{display:block;font-size:14px}
pre{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;margin:0;padding:14px 16px;
background:var(--soft);border-radius:6px;width:max-content;min-width:100%}
code{font:.92em ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;overflow-wrap:anywhere}
details{margin:14px 0}
summary{cursor:pointer;color:var(--accent);font-size:14px}
@media (max-width:600px){header{padding-top:32px}h1{font-size:25px}.sentence{font-size:17px}section{padding-top:44px}
.tiles{grid-template-columns:1fr 1fr;gap:20px 16px}.tile b{font-size:22px}
.bars{grid-template-columns:minmax(84px,36%) 1fr auto;gap:6px 10px}
.mistakes li{grid-template-columns:1fr}.scroll td:not(.n){min-width:90px}
.scroll .heat td{min-width:0;padding:6px 5px}.heat{font-size:13px}
.heat th:first-child{position:sticky;left:0;background:var(--paper);white-space:normal;min-width:84px;
overflow-wrap:anywhere}
.heat thead th:not(:first-child){writing-mode:vertical-rl;transform:rotate(180deg);text-align:left;padding:4px 6px}
.bars small{display:block;font-size:12px}.pairs{grid-template-columns:1fr;gap:0}
.pairs dd{margin-bottom:10px}.warnings li{grid-template-columns:1fr;gap:0}}
@media print{:root{--paper:#fff;--ink:#000;--muted:#444;--line:#ccc;--soft:#f4f4f4;--accent:#1662b4;--tint:#d3e2f3;
--second:#777;--bad:#a01010;--mid:#704800}body{font-size:11pt}nav{display:none}
header .warnings{margin-bottom:0}pre{white-space:pre-wrap;width:auto}section{padding-top:24pt}
details::details-content{content-visibility:visible;display:block;height:auto}figure,tr,li,.tile{break-inside:avoid}h2,h3{break-after:avoid}.scroll{overflow:visible}
.grid{grid-template-columns:repeat(3,1fr)}*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""
