#pragma once

#include "domain/state.h"

namespace refork::detail {

// What a thread knows of domains. Trivial, so that reaching it costs one instruction.
struct Thread {
  Frame* top = nullptr;             // the stack of active domains
  const State* adopting = nullptr;  // its new error handler is being copied: handles in it do not count
  bool handler_failed = false;      // see failed_handler.h
  bool recording = false;           // it is in the sink
  bool unusual = true;              // leaving a call takes more than taking it off the stack
  bool greeted = false;             // it has entered a domain before
};

// initial-exec: one load from the thread pointer, also in the shared library (a few dozen bytes of static
// TLS).
extern __thread Thread this_thread __attribute__((visibility("hidden"), tls_model("initial-exec")));

enum class Entry {
  scope,
  call,
};

void greet_this_thread() noexcept;

inline void push(Frame& frame, State* state, Entry entry) noexcept {
  frame.previous = this_thread.top;
  frame.state = state;
  frame.owner = false;
  frame.call = entry == Entry::call;
  frame.hides = false;
  this_thread.top = &frame;
}

// The next one that counts.
inline Frame* below(const Frame& frame) noexcept { return frame.hides ? frame.below : frame.previous; }

void pop_out_of_order(const Frame& frame) noexcept;

// Takes the frame off the stack, and with it all above; nothing if it is off already.
inline void pop(Frame& frame) noexcept {
  if (this_thread.top == &frame) {
    this_thread.top = frame.previous;
  } else {
    pop_out_of_order(frame);
  }
  if (frame.owner) {
    frame.owner = false;
    release(frame.state);
  }
}

// While it lives, this thread is outside all domains.
class Nowhere {
 public:
  Nowhere() noexcept { push(frame_, nullptr, Entry::scope); }
  ~Nowhere() { pop(frame_); }
  Nowhere(const Nowhere&) = delete;
  Nowhere& operator=(const Nowhere&) = delete;

 private:
  Frame frame_;
};

// What is active where the domain's handler runs: that below the domain's adjacent entries at the top of the
// stack.
Frame* outside(const State* state) noexcept;

// Hides the frames of this thread that lie between the top one and the given one (null: all). They stay on
// the stack, so that one that ends meanwhile is taken off it.
inline void hide_down_to(Frame* below) noexcept {
  this_thread.top->hides = true;
  this_thread.top->below = below;
}

}  // namespace refork::detail
