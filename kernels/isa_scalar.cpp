#define REEL_LANES_SCALAR
#define REEL_ISA scalar
#define REEL_ISA_NAME "scalar"
#include "kernels/bodies.inl"
