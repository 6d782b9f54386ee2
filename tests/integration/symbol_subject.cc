// A worker that fails as it is told, by lines of the pipe that it is started with: "PLACE MESSAGE". What a
// test looks for in the stack of its failures stands in namespace app; the lines marked `// throws:` are
// where. Compiled in several ways; with SUBJECT_CHANGED another function than those that fail is another one.

#include <fstream>
#include <stdexcept>
#include <string>

#include "refork/worker.hpp"

namespace app {

#ifdef SUBJECT_CHANGED
[[gnu::noinline]] std::string prepare(const std::string& message) {
  std::string copy = message;
  for (char& c : copy) c = c == '_' ? ' ' : c;
  return copy + "";
}
#else
[[gnu::noinline]] std::string prepare(const std::string& message) { return message; }
#endif

inline void check(const std::string& message) {
  if (!message.empty()) throw std::runtime_error(message);  // throws: check
}

[[gnu::noinline]] void parse(const std::string& message) {
  check(prepare(message));
  throw std::logic_error("a message was expected");
}

[[gnu::noinline]] void store(const std::string& message) {
  const std::string prepared = prepare(message);
  throw std::runtime_error(prepared);  // throws: store
}

[[gnu::noinline]] void descend(int depth, const std::string& message) {
  if (depth == 0) throw std::runtime_error(message);
  descend(depth - 1, message);
  volatile int after = 0;  // so that the call is none in tail position
  static_cast<void>(after);
}

void fail(const std::string& place, const std::string& message) {
  if (place == "parse") parse(message);
  if (place == "store") store(message);
  if (place == "descend") descend(std::stoi(message), message);
}

}  // namespace app

int main(int, char** argv) {
  refork::Worker worker;
  worker.ready();
  std::ifstream commands(argv[1]);
  std::string place, message;
  while (commands >> place >> message) {
    refork::Domain domain;
    domain.on_error([](const refork::Failure&) {});
    domain.run([&] { app::fail(place, message); });
  }
  return worker.finish();
}
