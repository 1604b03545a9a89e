"""The cost model: latency, traffic and energy of a network on many accelerators in many format pairs.

All rules apply to one operator at a time, so that the cost of a network is the sum over its layers:

1. Compute. A unit consumes `dot * rate` of K per cycle. The array maps N to its columns and either M
   (output-stationary) or more of K (weight-stationary) to its rows; utilisation is lost where a dimension does not
   divide evenly.
2. SRAM. Its bandwidth feeds one operand per lane to every row and column and takes one result per column in each cycle,
   in the widest formats of the unit; a mapping that needs more is limited by it. The faster of the two mappings is
   chosen. DRAM traffic passes through the SRAM in addition.
3. DRAM. The SRAM is divided into fixed shares (data/system.yaml). A tensor between operators stays on chip if it fits
   half of the activation share (one half is read while the other is written); otherwise it spills to DRAM. Operands
   from DRAM are tiled with double buffering, with the tile sizes and loop order that move the fewest bytes (`tiling`):
   tiles of a spilled input in that half, tiles of weights and partial sums in the tile share. Outputs are written in
   the activation format of the layer.
   Line-buffered fusion: if a product is the only reader of the previous product's result, elementwise operations aside,
   it consumes the result line by line as it is produced, provided that the tile share holds the weights of both. At
   most two products are fused. If they are not, the write and read of the result are charged to the second.
4. Resident tensors. The resident share holds weights and KV cache in proportion to their element counts: that fraction
   of a layer's weights is read once per result, the rest in every pass. In a mixture of experts, the resident fraction
   of all experts is read once, the rest only of experts with a token. Results that stay live while other products run
   (skip connections, residuals) divide the live share in proportion to their elements at the peak; the rest is written
   to DRAM and read again.
5. Attention scores never leave the chip, as the two products are fused; the KV cache is in DRAM except for its resident
   fraction.
6. Elementwise operations after a product (activations, additions, scales) pass through the bf16 vector unit while it
   runs; norms and softmax start when it has ended, and read and write a spilled tensor once more.
7. The latency of an operator is the largest of these times, plus that of its norms and softmax.
8. With flash behind the DRAM, the DRAM holds the same fraction of every layer's weights; the rest is streamed from
   flash through DRAM in every pass. A codec compresses stored weights; they are decompressed on the way into the SRAM,
   at the bandwidth of the DRAM.
9. Blocks of a format run along the input channels of a weight at a fixed tap, and along all channels of an activation
   (`Operator.runs`), as quality quantizes them. In time, the array reads each such run as whole blocks, of the format
   with the larger ones. In memory, a run has its elements and one scale for each block that it starts: a depthwise
   weight in nvfp4 takes 12 bits per element instead of 4.5. MACs, their energy and bit operations are those of the
   elements alone. The ratio of a codec, which is measured with full blocks, applies to short ones too.
10. Scales per token (`int8_token`). Before it is quantized, each element of a layer's input, and of a new key or value
    in such a format, passes through the vector unit once for the range of its token (twice with a zero point), and each
    result of a product whose input has them is multiplied by its token's scale. Tokens pass while the product runs. A
    convolution takes one range of a whole sample: the pass ends before the product starts, a spilled input is read once
    more after it, and its producer is not fused with it. Readers of one tensor share no pass. Static scales need none
    of this. Units are those of the plain formats (`FormatPair.datapath`).
11. Requantizers on the way of results into the SRAM divide by scales and round, and find the scales of blocks. They
    keep pace with the results and cost energy alone, for each element of an input and each new key or value
    (`units.requantizers`); their area is that of the converters in the vector unit's lanes.
"""
