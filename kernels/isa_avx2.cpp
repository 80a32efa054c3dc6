#define REEL_LANES_AVX2
#define REEL_ISA avx2
#define REEL_ISA_NAME "avx2"
#include "kernels/bodies.inl"
