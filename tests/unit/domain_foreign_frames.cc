// A library of somebody else's, through whose frames errors pass.
#include <exception>
#include <string>

extern "C" __attribute__((visibility("default"))) void foreign_call(void (*callback)(void*), void* argument) {
  std::string with_a_destructor(100, 'x');
  callback(argument);
  asm volatile("" : : "r"(with_a_destructor.data()));
}

class __attribute__((visibility("hidden"))) HiddenError : public std::exception {
 public:
  const char* what() const noexcept override { return "hidden in another library"; }
};

struct __attribute__((visibility("hidden"))) HiddenNumber {
  int value;
};

extern "C" __attribute__((visibility("default"))) void throw_hidden_error() { throw HiddenError(); }
extern "C" __attribute__((visibility("default"))) void throw_hidden_number() { throw HiddenNumber{7}; }
