#pragma once

#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "refork/version.hpp"

namespace refork {

// What kind of failure a record tells of. The first two, `terminate` and `handler` come from librefork; the
// others are observed from outside by reforkd.
enum class Kind {
  exception,
  error,
  signal,
  terminate,
  hang,
  timeout,
  deadline,
  oom,
  exit,
  protocol,
  boot,
  handler
};

// What follows a captured error once its handler has answered.
enum class Then {
  drain,  // the worker is replaced: an error handler is no substitute for closing the process
  serve,  // the error is recorded and the worker goes on, because its author says that its state is sound
};

// One nested exception, std::nested_exception or what an error handler was handling when it threw itself.
struct Cause {
  std::string type;
  std::string message;
};

// A captured error with its circumstances. Handed to error handlers by reference; copyable, so a handler may
// keep it.
struct Failure {
  Kind kind = Kind::exception;
  std::string type;           // demangled: "std::runtime_error", "int", "std::error_code"
  std::string message;        // what(), or the value of a thrown number or string
  std::vector<Cause> causes;  // outermost first
  std::exception_ptr exception;

  std::string domain;                // the domain that captured it
  std::vector<std::string> domains;  // the domains active where it happened, innermost first
  bool thrown = true;                // false: reported, or passed to an intercepted callback
  std::string bound;                 // label of the bound callback through which it came, if any
  std::string emitter;               // the Emitter that reported it, if any
  bool rethrown = false;             // the stack is that of a rethrow, the first throw is not known

  std::vector<void*> stack;  // return addresses from the place that threw, newest first, 128 at most
  std::vector<std::pair<std::string, std::string>> context;

  std::shared_ptr<const Failure> original;  // kind handler: the error whose handler failed
  std::string id;                           // the record's id; empty as long as it is not recorded
};

}  // namespace refork
