// The child of spawn_bench: tells when it came to life, and ends.
#include <unistd.h>

#include <chrono>
#include <cstdint>

int main() {
  const std::int64_t now = std::chrono::steady_clock::now().time_since_epoch().count();
  return ::write(3, &now, sizeof now) == static_cast<ssize_t>(sizeof now) ? 0 : 1;
}
