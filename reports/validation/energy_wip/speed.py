import time
from codesign.hardware.units.switching import switching
from codesign.hardware.rtl.emit.unit import Unit
from codesign.hardware.rtl.analyse.gates import unit_gates
from codesign.hardware.rtl.analyse.built import built
from codesign.formats import FormatPair
for p,acc,l in (("int8","int32",1),("int8","int32",16),("fp8_e4m3","fp32",16),("fp8_e4m3","exact",16),("mxfp4","fp32",32),("bf16","fp32",16),("int8","int32",64)):
    u=Unit((FormatPair.parse(p),),acc,l); t=time.process_time(); built(u); t0=time.process_time(); g=unit_gates(u); t1=time.process_time(); switching(u,0); t2=time.process_time()
    print(u.name, g.count, "build %.2f gates %.2f switching %.2f"%(t0-t,t1-t0,t2-t1),flush=True)
