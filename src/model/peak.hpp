#pragma once
#include "model/weights.hpp"

namespace reel::model {

/// Multiply-add rate of one thread in registers and L1 [flop/s], measured now with the kernel in use: the yardstick for every
/// share of peak. Of a bf16 profile at least that of f32, from which its product is made where no instruction is. About 20 ms.
double measured_peak_flops(Numerics numerics = Numerics::f32);

}  // namespace reel::model
