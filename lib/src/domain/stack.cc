// The stack of active domains of each thread: a list of entries that live in the Scope or call that made
// them, newest first. It knows nothing of errors.
#include "domain/stack.h"

namespace refork::detail {

__thread Thread this_thread;

void pop_out_of_order(const Frame& frame) noexcept {
  for (Frame* found = this_thread.top; found; found = found->previous) {
    if (found != &frame) continue;
    this_thread.top = frame.previous;
    return;
  }
}

Outside::Outside(const State* state) noexcept {
  Frame* parent = this_thread.top;
  while (parent && parent->state == state) parent = below(*parent);
  push(frame_, parent ? parent->state : nullptr, Entry::call);
  // Hidden frames stay on the stack, so that one that ends meanwhile is taken off it.
  frame_.hides = true;
  frame_.below = parent;
}

Outside::~Outside() { pop(frame_); }

}  // namespace refork::detail

namespace refork {

Scope::Scope(detail::State* state) noexcept { detail::push(frame_, state, detail::Entry::scope); }

Scope::~Scope() { detail::pop(frame_); }

}  // namespace refork
