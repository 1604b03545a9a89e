import sys, json
from pathlib import Path
import numpy as np
from codesign.hardware.calibration.synthesis.energy import Switched, Simulated
from codesign.hardware.calibration.fit import energy as F
from codesign.hardware.calibration.fit.area_delay import held_out
from codesign.hardware.calibration.synthesis.grid import grid, PLANNED_LEVEL_PS
lib=sys.argv[1]
clocks={"asap7":(1900.,930.),"sg13g2":(11000.,5300.)}[lib]
scale={"asap7":0.98,"sg13g2":5.8}[lib]
ents={f"{e.unit.name}_{e.clock_ps:g}ps":e for e in grid(clocks,{k:v*scale for k,v in PLANNED_LEVEL_PS.items()})}
rows=[]
for p in Path("/tmp/cal").glob(f"energy-{lib}-*.jsonl"):
    for l in p.read_text().splitlines():
        d=json.loads(l); e=ents.get(d["name"])
        if e is None: continue
        rows+= [Switched(e.family,e.unit,Simulated(**r)) for r in d["rows"]]
single=[r for r in rows if len(r.unit.modes)==1]; shared=[r for r in rows if len(r.unit.modes)>1]
print(len(rows),len(single),len({r.unit.name for r in rows}))
def q(x): x=np.sort(np.abs(x)); return "median %.1f p90 %.1f worst %.1f"%tuple(100*np.array([np.median(x),np.quantile(x,.9),x[-1]]))
for what,fn in (("all",rows),("single",single)):
    c=F.fit_energy(fn); err=np.array([F.energy_error(r,c) for r in fn]); print(what,"in sample",q(err))
    for by in ("unit","family"):
        print(what,by,q(np.array(held_out(fn,F.fit_energy,F.energy_error,by))))
print(np.round(c,4))
order=np.argsort(-np.abs(err))
for i in order[:25]: print(fn[i].unit.name, fn[i].found.activity, round(err[i],3), fn[i].found)
