import numpy as np
from codesign.formats import format_names, get_format
from codesign.hardware.units.operand_streams import quantized, SIDES, CODES
from codesign.hardware.units.activities import NETWORKS
arrays={}
for a in NETWORKS:
    for side in SIDES:
        for name in format_names():
            if name=="fp32" or get_format(name).per_token: continue
            layers=quantized(name,side,a)
            c=np.concatenate([l.codes for l in layers],axis=1)
            kind=next(t for t in (np.int8,np.uint8,np.int16,np.uint16,np.int32) if np.iinfo(t).min<=c.min() and c.max()<=np.iinfo(t).max)
            arrays[f"{a}/{side}/{name}"]=c.astype(kind)
            if layers[0].scales is not None: arrays[f"{a}/{side}/{name}/scales"]=np.concatenate([l.scales for l in layers],axis=1).astype(np.uint16)
    arrays[a]=np.array([l.codes.shape[1] for l in layers],dtype=np.int64)
np.savez_compressed(CODES,**arrays); print(len(arrays))
