// The doors by which errors come in that were not thrown: report, intercepted callbacks, emitters.
#include <system_error>

#include "domain/capture.h"
#include "domain/describe.h"
#include "domain/hooks.h"
#include "domain/snapshot.h"

namespace refork {
namespace {

std::string text_of(const std::error_code& error, std::string_view message) {
  std::string text(message);
  if (!text.empty()) text += ": ";
  if (!error) return text + "an error was reported without a code";
  return text + error.message() + " (" + error.category().name() + ":" + std::to_string(error.value()) + ")";
}

Failure describe_code(const std::error_code& error, std::string_view message) noexcept {
  Failure failure;
  failure.kind = Kind::error;
  failure.thrown = false;
  try {
    failure.type = "std::error_code";
    failure.message = text_of(error, message);
    failure.exception = std::make_exception_ptr(std::system_error(error, std::string(message)));
  } catch (...) {
    // No memory: what has been written so far is the record.
  }
  return failure;
}

}  // namespace

Failure ErrorTraits<std::error_code>::describe(const std::error_code& error) noexcept {
  return describe_code(error, {});
}

Failure ErrorTraits<std::exception_ptr>::describe(const std::exception_ptr& error) noexcept {
  Failure failure;
  failure.kind = Kind::error;
  failure.thrown = false;
  failure.rethrown = true;  // the stack will be that of the report
  detail::describe(error, failure);
  if (error) return failure;
  try {
    failure.type = "std::exception_ptr";
    failure.message = "an error was reported without an exception";
  } catch (...) {
    failure.message.clear();
  }
  return failure;
}

std::uint64_t domain::complete(Failure& failure, const void* reported_from) noexcept {
  detail::Snapshot snapshot;
  snapshot.take(reported_from, nullptr);
  try {
    Failure here;
    snapshot.tell(here);
    if (failure.stack.empty()) failure.stack = std::move(here.stack);
    if (failure.domains.empty()) failure.domains = std::move(here.domains);
    if (failure.domain.empty() && !failure.domains.empty()) failure.domain = failure.domains.front();
    detail::add_missing(failure.context, here.context);
  } catch (...) {
    // No memory: what the application said is the record.
  }
  return snapshot.request();
}

// The return address is where the stack of a reported error begins.
#define REFORK_CALLER __builtin_extract_return_addr(__builtin_return_address(0))

void Domain::report(const std::error_code& error, std::string_view message) const {
  Failure failure = describe_code(error, message);
  detail::report(state_, failure, REFORK_CALLER);
}

void Domain::report(const std::exception_ptr& error) const {
  Failure failure = ErrorTraits<std::exception_ptr>::describe(error);
  detail::report(state_, failure, REFORK_CALLER);
}

void Domain::report(Failure failure) const { detail::report(state_, failure, REFORK_CALLER); }

void Domain::report_intercepted(Failure failure, const std::string& label, const char* type) const {
  failure.bound = !label.empty() ? label : type ? detail::demangle(type) : "callback";
  detail::report(state_, failure, REFORK_CALLER);
}

namespace {

void report_from(Failure& failure, const std::string& emitter, const Domain::Handler& listener,
                 detail::State* state, const void* reported_from) {
  failure.emitter = emitter;
  if (!listener) return detail::report(state, failure, reported_from);
  failure.kind = Kind::error;
  failure.thrown = false;
  const Domain::Handler kept = listener;  // it may replace itself, or end the member
  kept(failure);
}

}  // namespace

void Emitter::report(const std::error_code& error, std::string_view message) {
  Failure failure = describe_code(error, message);
  report_from(failure, name_, listener_, domain_.state_, REFORK_CALLER);
}

void Emitter::report(const std::exception_ptr& error) {
  Failure failure = ErrorTraits<std::exception_ptr>::describe(error);
  report_from(failure, name_, listener_, domain_.state_, REFORK_CALLER);
}

void Emitter::report(Failure failure) {
  report_from(failure, name_, listener_, domain_.state_, REFORK_CALLER);
}

}  // namespace refork
