// A library of somebody else's, through whose frames errors pass.
#include <string>

extern "C" __attribute__((visibility("default"))) void foreign_call(void (*callback)(void*), void* argument) {
  std::string with_a_destructor(100, 'x');
  callback(argument);
  asm volatile("" : : "r"(with_a_destructor.data()));
}
