#define REEL_LANES_AVX512
#define REEL_ISA avx512
#define REEL_ISA_NAME "avx512"
#include "kernels/bodies.inl"
