// What a request costs without an error is done in memory that no other thread writes: the thread's own, the
// domain's, and the request's entry of the flight recorder. Shown by taking the right to write from all else
// that the library has: its variables, and the recorder's header.
#include <gtest/gtest.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "domain/state.h"
#include "recorder/layout.h"
#include "refork/domain.hpp"
#include "refork/worker.hpp"

namespace refork::test {
namespace {

static_assert(alignof(detail::State) >= 64 && alignof(detail::Handler) >= 64);
static_assert(alignof(recorder::Request) >= 64 &&
              recorder::requests_offset % alignof(recorder::Request) == 0);

constexpr int few = 100;  // fewer domains than the numbers that a thread takes at once

void protect(std::uintptr_t begin, std::uintptr_t end) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  begin &= ~(page - 1);
  if (::mprotect(reinterpret_cast<void*>(begin), end - begin, PROT_READ) != 0) ::_exit(2);  // NOLINT
}

int protect_variables(dl_phdr_info* info, std::size_t, void* protected_segments) {
  if (std::string_view(info->dlpi_name).find("librefork.so") == std::string_view::npos) return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& segment = info->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || !(segment.p_flags & PF_W)) continue;
    protect(info->dlpi_addr + segment.p_vaddr, info->dlpi_addr + segment.p_vaddr + segment.p_memsz);
    ++*static_cast<int*>(protected_segments);
  }
  return 0;
}

// Asks the kernel: the page may be a sanitizer's.
bool begins_with_magic(std::uintptr_t page) {
  char text[sizeof recorder::magic];
  iovec here{text, sizeof text}, there{reinterpret_cast<void*>(page), sizeof text};  // NOLINT
  return ::process_vm_readv(::getpid(), &here, 1, &there, 1, 0) == sizeof text &&
         std::memcmp(text, recorder::magic, sizeof text) == 0;
}

int protect_recorder_headers() {
  int found = 0;
  std::FILE* maps = std::fopen("/proc/self/maps", "re");
  if (!maps) return 0;
  std::uintptr_t begin = 0, end = 0;
  char mode[5] = {};
  while (std::fscanf(maps, "%" SCNxPTR "-%" SCNxPTR " %4s%*[^\n]", &begin, &end, mode) == 3) {
    if (std::string_view(mode) != "rw-p" || end - begin < recorder::total_size ||
        end - begin > 2 * recorder::total_size)
      continue;
    for (std::uintptr_t page = begin; page < end; page += recorder::page_size) {
      if (!begins_with_magic(page)) continue;
      protect(page, page + recorder::page_size);
      ++found;
    }
  }
  std::fclose(maps);
  return found;
}

void serve(Worker& worker, const Domain& shared) {
  Domain domain("request");
  domain.on_error([](const Failure&) {});
  const auto request = worker.begin("GET /", domain);
  auto callback = domain.bind([] { return 1; });
  Emitter connection("connection");
  domain.add(connection);
  if (callback() != 1 || domain.run([] { return 2; }) != 2 || shared.run([] { return 3; }) != 3) ::_exit(3);
}

// In a process of its own, which a store to the wrong place kills.
template <class Last>
[[noreturn]] void serve_and(Last last) {
  Worker::Options options;
  options.standalone = Worker::Standalone::serve;
  options.drive = Worker::Drive::fd;
  Worker worker(options);
  const Domain shared("shared");
  for (int i = 0; i < few; ++i) serve(worker, shared);
  int segments = 0;
  ::dl_iterate_phdr(protect_variables, &segments);
  if (segments == 0 || protect_recorder_headers() != 1) ::_exit(4);
  for (int i = 0; i < few; ++i) serve(worker, shared);
  last(worker, shared);
  ::_exit(0);
}

TEST(DomainSharing, ARequestWithoutAnErrorWritesNothingThatThreadsShare) {
  EXPECT_EXIT(serve_and([](Worker&, const Domain&) {}), testing::ExitedWithCode(0), "");
}

TEST(DomainSharing, WhatDoesWriteThereIsSeen) {
  EXPECT_DEATH(serve_and([](Worker&, const Domain& shared) { shared.add(Domain("child")); }), "");
  EXPECT_DEATH(serve_and([](Worker& worker, const Domain&) { worker.crossed(); }), "");
}

}  // namespace
}  // namespace refork::test
