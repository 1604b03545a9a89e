"""One network on many accelerators in many format pairs: time, traffic and energy, operator by operator.

The rules, all of them per operator, so that the cost of a network is the sum over its layers:

1. Compute. A unit consumes `dot * rate` of K per cycle. The array spreads N over its columns and
   either M (outputs stay) or more of K (weights stay) over its rows; ceilings are the losses.
2. SRAM. It feeds one operand per lane to every row and column and takes one result per column each
   cycle, in the widest formats of the unit; a mapping that reads more waits. The faster of the two
   mappings is taken. What DRAM moves goes through the SRAM once more.
3. DRAM. SRAM is split in fixed shares (data/system.yaml). A tensor between operators stays on chip
   if it fits half of the activation share (one half is read while the other is written). What does not is cut
   into tiles, those of a spilled input in that half, those of weights and sums under way in the tiles' share, double
   buffered, in the sizes and loop order that move least (`tiling`). Outputs are written in the layer's activation
   format.
   Where a product takes the result of the one before element by element and nothing else does, that result goes over
   in bands of a few rows as soon as they are made, if the tiles' share holds the weights of both; two products
   at most run so together. What goes out instead is charged to the second.
4. Residence. The resident share is given to weights and KV cache in proportion to their element
   counts: that fraction of a layer's weights is read once per result, the rest on every pass; of a
   mixture of experts the resident part of all experts once, the rest of those that have a token.
   A result that waits for a later product (a skip connection, a residual) has its part of another share, by
   elements of all that wait at the worst moment; the rest goes to DRAM and comes back.
5. Attention scores never leave the chip (the two products are fused); a KV cache lives in DRAM, but
   for its resident fraction.
6. What follows a product elementwise (activations, additions, scales) passes the bf16 vector unit on its way out; norms
   and softmax wait for it to end, and read and write a spilled tensor once more.
7. An operator takes as long as the slowest of these, and then its norms and softmax.
8. With a flash behind the DRAM, each layer has its part of the DRAM in proportion to its elements; the rest of its
   weights streams through DRAM from flash in every pass. A codec makes stored weights smaller; they expand on their way
   into the SRAM, as fast as DRAM delivers.
"""
