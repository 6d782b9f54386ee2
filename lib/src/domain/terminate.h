#pragma once

namespace refork::domain {

// Puts a terminate handler before the process's own (which it goes on to), or takes it away if it is still
// there. It records what std::terminate was called for, with the domain in which that happened: a throw out
// of a noexcept function, an exception nobody catches, a thread that was not joined.
void watch_terminate(bool watch) noexcept;

}  // namespace refork::domain
