#pragma once
namespace reel::model {

/// Fused multiply-add rate of one thread in registers and L1 [flop/s], measured now with the kernel in use: the yardstick
/// for every share of peak. Takes about 20 ms.
double measured_peak_flops();

}  // namespace reel::model
