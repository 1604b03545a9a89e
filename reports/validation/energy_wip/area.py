import json,sys
from pathlib import Path
import numpy as np
from codesign.hardware.calibration.synthesis.grid import unpipelined
from codesign.hardware.units.unit_model import load_model
from codesign.hardware.calibration.synthesis.grid import grid, PLANNED_LEVEL_PS
for lib,clocks,scale in (("asap7",(1900.,930.),.98),("sg13g2",(11000.,5300.),5.8)):
    m=load_model(f"mac_model_{lib}.yaml")
    ents={f"{e.unit.name}_{e.clock_ps:g}ps":e for e in grid(clocks,{k:v*scale for k,v in PLANNED_LEVEL_PS.items()})}
    lines=[json.loads(l) for l in Path(f"/tmp/cal-{lib}/results.jsonl").read_text().splitlines()]
    for name,part in (("old rtl",lines[:276]),("new rtl",lines[276:])):
        err=[]
        for r in part:
            e=ents.get(r["name"])
            if e and "synthesis" in r: err.append((m.area(e.unit).value/r["synthesis"]["area_um2"]-1, r["name"]))
        x=np.abs([a for a,_ in err]); print(lib,name,len(err),"area median %.1f p90 %.1f worst %.1f bias %.1f"%(100*np.median(x),100*np.quantile(x,.9),100*x.max(),100*np.mean([a for a,_ in err])), sorted(err,key=lambda v:-abs(v[0]))[:4])
