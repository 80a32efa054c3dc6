#pragma once
// For test programs that mpirun starts: a failed check ends all ranks with exit code 1.
#include <cstdio>

#include "core/comm.hpp"

#define CHECK(condition)                                                                                   \
  do {                                                                                                     \
    if (!(condition)) {                                                                                    \
      std::fprintf(stderr, "rank %d: %s:%d: %s does not hold\n", Comm::world().rank(), __FILE__, __LINE__, \
                   #condition);                                                                            \
      Comm::abort(1);                                                                                      \
    }                                                                                                      \
  } while (false)
