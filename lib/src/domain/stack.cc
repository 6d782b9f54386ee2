// The stack of active domains of each thread: a list of entries that live in the Scope or call that made
// them, newest first. It knows nothing of errors.
#include "domain/stack.h"

namespace refork::detail {

__thread Thread this_thread;

void pop_out_of_order(Frame& frame) noexcept {
  if (!frame.active) return;
  frame.active = false;
  Frame* found = this_thread.top;
  while (found && found != &frame) found = found->previous;
  if (!found) return;
  for (Frame* above = this_thread.top; above != &frame; above = above->previous) above->active = false;
  this_thread.top = frame.previous;
}

Outside::Outside(const State* state) noexcept : was_inside_run_(this_thread.inside_run) {
  Frame* parent = this_thread.top;
  while (parent && parent->state == state) parent = parent->below;
  if (parent) depth_ = parent->depth;
  push(frame_, parent ? parent->state : nullptr);
  // Hidden frames stay on the stack, so that one that ends meanwhile is taken off it.
  frame_.below = parent;
  this_thread.inside_run = true;
}

Outside::~Outside() {
  pop(frame_);
  this_thread.inside_run = was_inside_run_;
}

}  // namespace refork::detail

namespace refork {

Scope::Scope(detail::State* state) noexcept { detail::push(frame_, state); }

Scope::~Scope() { detail::pop(frame_); }

}  // namespace refork
