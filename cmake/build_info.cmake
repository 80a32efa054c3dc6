# Writes build_info.hpp: what this build is. Runs at every build, touches the file only when something changed.
#   cmake -DSOURCE=... -DOUT=... -DVERSION=... -DCOMPILER=... -DFLAGS=... -DLIBRARIES=... -P build_info.cmake
set(commit "unknown")
find_program(GIT git)
if(GIT)
  execute_process(COMMAND "${GIT}" -C "${SOURCE}" describe --always --dirty --abbrev=12 --exclude=*
    OUTPUT_VARIABLE described OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed)
    set(commit "${described}")
  endif()
endif()
foreach(name VERSION COMPILER FLAGS LIBRARIES)
  string(REPLACE "\"" "\\\"" ${name} "${${name}}")
endforeach()
set(text "#pragma once
// Made by cmake/build_info.cmake.
namespace reel::build {
inline constexpr const char* version = \"${VERSION}\";
inline constexpr const char* commit = \"${commit}\";
inline constexpr const char* compiler = \"${COMPILER}\";
inline constexpr const char* flags = \"${FLAGS}\";
inline constexpr const char* libraries = \"${LIBRARIES}\";
}  // namespace reel::build
")
set(old "")
if(EXISTS "${OUT}")
  file(READ "${OUT}" old)
endif()
if(NOT old STREQUAL text)
  file(WRITE "${OUT}" "${text}")
endif()
