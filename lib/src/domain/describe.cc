// Turns an exception into words: its type, its message, and the exceptions nested in it.
#include "domain/describe.h"

#include <cxxabi.h>

#include <cstdlib>
#include <memory>
#include <string_view>
#include <system_error>
#include <typeinfo>

namespace refork::detail {
namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

std::string text_of(const std::exception& exception) {
  const char* what = exception.what();
  return what ? what : "(what() is null)";
}

std::string current_type() {
  const std::type_info* type = abi::__cxa_current_exception_type();
  return type ? demangle(type->name()) : std::string();
}

// The value of the exception that is being handled, if it is of a type that tells something.
std::string text_of_current() {
  try {
    throw;
  } catch (const std::string& thrown) {
    return thrown;
  } catch (std::string_view thrown) {
    return std::string(thrown);
  } catch (const char* thrown) {
    return thrown ? thrown : "(null)";
  } catch (const std::error_code& thrown) {
    return thrown.message();
  } catch (bool thrown) {
    return thrown ? "true" : "false";
  } catch (char thrown) {
    return std::string(1, thrown);
  } catch (int thrown) {
    return std::to_string(thrown);
  } catch (unsigned thrown) {
    return std::to_string(thrown);
  } catch (long thrown) {
    return std::to_string(thrown);
  } catch (unsigned long thrown) {
    return std::to_string(thrown);
  } catch (long long thrown) {
    return std::to_string(thrown);
  } catch (unsigned long long thrown) {
    return std::to_string(thrown);
  } catch (double thrown) {
    return std::to_string(thrown);
  } catch (float thrown) {
    return std::to_string(thrown);
  } catch (...) {
    return {};  // the type has to say it all
  }
}

// Rethrows the exception to see what it is; gives the one that is nested in it.
std::exception_ptr describe_one(const std::exception_ptr& exception, std::string& type,
                                std::string& message) {
  try {
    std::rethrow_exception(exception);
  } catch (const NamedError& thrown) {
    type = thrown.type;
    message = text_of(thrown);
    return nullptr;
  } catch (const std::exception& thrown) {
    type = current_type();
    message = text_of(thrown);
    auto* nest = dynamic_cast<const std::nested_exception*>(&thrown);
    return nest ? nest->nested_ptr() : nullptr;
  } catch (const std::nested_exception& thrown) {
    type = current_type();
    return thrown.nested_ptr();
  } catch (...) {
    type = current_type();
    message = text_of_current();
    return nullptr;
  }
}

}  // namespace

std::string demangle(const char* name) {
  int status = 0;
  std::unique_ptr<char, decltype(&std::free)> readable(abi::__cxa_demangle(name, nullptr, nullptr, &status),
                                                       &std::free);
  std::string text = status == 0 && readable ? readable.get() : name;
  replace_all(text, "std::__cxx11::", "std::");
  replace_all(text, "std::basic_string<char, std::char_traits<char>, std::allocator<char> >", "std::string");
  replace_all(text, "std::basic_string_view<char, std::char_traits<char> >", "std::string_view");
  return text;
}

void describe(const std::exception_ptr& exception, Failure& failure) noexcept {
  try {
    failure.exception = exception;
    if (!exception) return;
    std::exception_ptr nested = describe_one(exception, failure.type, failure.message);
    for (std::size_t depth = 0; nested && depth < cause_limit; ++depth) {
      Cause cause;
      nested = describe_one(nested, cause.type, cause.message);
      failure.causes.push_back(std::move(cause));
    }
  } catch (...) {
    // No memory: what has been written so far is the record.
  }
}

}  // namespace refork::detail
