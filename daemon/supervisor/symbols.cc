// What an answer makes of a record. Pure; asking is symbolizer.cc.
#include "supervisor/symbols.h"

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/fingerprint.h"
#include "proto/stack.h"

namespace refork::supervisor {
namespace {

// Modules of the application. A worker knows which is its executable, wherever that stands; what it took for
// refork's by the name of the function that was called may have the application's inlined into it.
class OwnModules {
 public:
  explicit OwnModules(const std::vector<proto::Frame>& stack) {
    for (const auto& frame : stack)
      if (frame.in_app) own_.insert(frame.module);
  }
  bool contains(const std::string& module) const {
    return own_.contains(module) || (!module.empty() && !proto::is_system_path(module) &&
                                     !proto::basename_of(module).starts_with("librefork.so"));
  }

 private:
  std::set<std::string> own_;
};

proto::Frame named(const proto::Frame& frame, const proto::Symbol& symbol) {
  proto::Frame one = frame;
  if (!symbol.function.empty()) one.function = symbol.function;
  one.file = symbol.file;
  one.line = symbol.line;
  return one;
}

// Of all frames as they are stored. What else is in a record came in a slot of a flight recorder and has its
// place beside them: names are not worth a context.
constexpr std::size_t max_stack_text = proto::max_record_text - 16384, frame_text = 128;

// The newest ones that fit.
void keep_first(std::vector<proto::Frame>& stack) {
  std::size_t count = 0, text = 0;
  for (; count < std::min(stack.size(), proto::max_frames); ++count) {
    const proto::Frame& frame = stack[count];
    text += frame_text + frame.function.size() + frame.file.size() + frame.module.size();
    if (text > max_stack_text) break;
  }
  stack.resize(count);
}

}  // namespace

void name_stack(std::vector<proto::Frame>& frames, const proto::SymbolAnswer& answer) {
  const OwnModules own(frames);
  std::vector<proto::Frame> stack;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    const proto::Frame& frame = frames[i];
    const bool known = i < answer.frames.size() && !answer.frames[i].empty();
    if (!known) stack.push_back(frame);
    for (std::size_t j = 0; known && j < answer.frames[i].size(); ++j)
      stack.push_back(named(frame, answer.frames[i][j]));
  }
  for (auto& frame : stack)
    frame.in_app = own.contains(frame.module) && !proto::is_library_code(frame.function, frame.file);
  keep_first(stack);
  frames = std::move(stack);
}

void name_frames(proto::FailureRecord& record, const proto::SymbolAnswer& answer) {
  name_stack(record.stack, answer);
  record.fingerprint = base::to_hex(
      proto::fingerprint(record.type.empty() ? base::to_name(record.kind) : std::string_view(record.type),
                         record.stack, proto::FrameKey::name));
}

}  // namespace refork::supervisor
