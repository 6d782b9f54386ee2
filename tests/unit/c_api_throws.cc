// C++ code below a C program.
#include "unit/c_api_throws.h"

#include <exception>
#include <stdexcept>

extern "C" void throw_runtime_error(void*) {
  try {
    throw std::runtime_error("the cause of it");
  } catch (...) {
    std::throw_with_nested(std::runtime_error("thrown by C++"));
  }
}
