#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <vector>

#include "proto/record.h"
#include "proto/symbols.h"

namespace refork::supervisor {

struct Subject;

// How long a record waits for the names of its frames before it is stored without them.
inline constexpr std::chrono::milliseconds symbol_patience{3000};

// Who knows what stands at the places of a stack.
class Symbols {
 public:
  // Nothing: nobody knows, or not in time. Called exactly once, perhaps before ask() returns.
  using Reply = std::function<void(std::optional<proto::SymbolAnswer>)>;
  virtual ~Symbols() = default;
  virtual void ask(const Subject& subject, const proto::FailureRecord& record, Reply reply) = 0;
};

// Gives the frames of one stack their names.
// Inlined functions become frames of their own, and what is nobody's application is marked so.
void name_stack(std::vector<proto::Frame>& stack, const proto::SymbolAnswer& answer);

// The same of a record's own stack; and the fingerprint is made of the names.
void name_frames(proto::FailureRecord& record, const proto::SymbolAnswer& answer);

}  // namespace refork::supervisor
