"""Measure energy of all finished netlists with the new code; resumable."""
import sys, json, pickle
from pathlib import Path
from codesign.hardware.calibration.synthesis import energy
from codesign.hardware.calibration.synthesis.grid import grid, PLANNED_LEVEL_PS
from codesign.hardware.calibration.liberty.library import read_liberty
from codesign.hardware.calibration.liberty.delays import cell_delays
lib=sys.argv[1]; part=int(sys.argv[2]); parts=int(sys.argv[3])
files=sorted(Path("/work/shared/liberty").glob(lib+"*"))
W=Path(f"/tmp/cal-{lib}")
done={}
for l in (W/"results.jsonl").read_text().splitlines():
    r=json.loads(l)
    if "synthesis" in r: done[r["name"]]=r
clocks={"asap7":(1900.,930.),"sg13g2":(11000.,5300.)}[lib]
scale = {"asap7":0.98,"sg13g2":5.8}[lib]
pk=Path(f"/tmp/cal/lib-{lib}.pkl")
L,D=pickle.load(open(pk,"rb")) if pk.exists() else (lambda L:(L,cell_delays(L,L.cells)))(read_liberty(*files))
pickle.dump((L,D),open(pk,"wb"))
energy._library.__wrapped__; energy._library=lambda x:(L,D)
import hashlib
out=Path(f"/tmp/cal/energy-{lib}-{part}.jsonl")
known={json.loads(l)["key"] for p in Path("/tmp/cal").glob(f"energy-{lib}-*.jsonl") for l in p.read_text().splitlines()}
from dataclasses import asdict
import time
missing=0
ents=grid(clocks,{k:v*scale for k,v in PLANNED_LEVEL_PS.items()})
with out.open("a") as f:
  for i,e in enumerate(ents):
    if i%parts!=part: continue
    r=done.get(f"{e.unit.name}_{e.clock_ps:g}ps")
    if not r: missing+=1; continue
    path=W/r["synthesis"]["netlist_json"]
    if path.parent.name in known: continue
    t=time.time()
    rows=energy._simulate(energy.EnergyJob("",e.family,e.unit,path),())
    f.write(json.dumps({"key":path.parent.name,"name":f"{e.unit.name}_{e.clock_ps:g}ps","rows":[asdict(x) for x in rows]})+"\n"); f.flush()
    print(e.unit.name, round(time.time()-t,2), rows[0], flush=True)
print("missing",missing)
