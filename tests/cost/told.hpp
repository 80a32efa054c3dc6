#pragma once
// What errors say, for tests.
#include <gtest/gtest.h>

#include <string>

#include "core/error.hpp"

namespace reel::cost {

/// What the error says, all of it; "" when nothing is thrown.
template <class Action>
std::string told(Action&& action, Exit exit = Exit::input) {
  try {
    action();
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.exit(), exit) << error.what();
    return fmt::format("{} | {} | {}", error.what(), error.where(), error.hint());
  }
}

inline void expect_part(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in:\n" << text;
}

}  // namespace reel::cost
