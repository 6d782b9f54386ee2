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

std::string text_of(const char* text) { return text ? text : "(null)"; }

// Rethrows the exception to see what it is; gives the one that is nested in it.
std::exception_ptr describe_one(const std::exception_ptr& exception, std::string& type,
                                std::string& message) {
  std::exception_ptr nested;
  try {
    std::rethrow_exception(exception);
  } catch (...) {
    if (const std::type_info* info = abi::__cxa_current_exception_type()) type = demangle(info->name());
    try {
      throw;
    } catch (const std::exception& thrown) {
      if (auto* nest = dynamic_cast<const std::nested_exception*>(&thrown)) nested = nest->nested_ptr();
      message = text_of(thrown);
    } catch (const std::nested_exception& thrown) {
      nested = thrown.nested_ptr();
    } catch (const std::string& thrown) {
      message = thrown;
    } catch (std::string_view thrown) {
      message = thrown;
    } catch (const char* thrown) {
      message = text_of(thrown);
    } catch (const std::error_code& thrown) {
      message = thrown.message();
    } catch (bool thrown) {
      message = thrown ? "true" : "false";
    } catch (char thrown) {
      message = std::string(1, thrown);
    } catch (int thrown) {
      message = std::to_string(thrown);
    } catch (unsigned thrown) {
      message = std::to_string(thrown);
    } catch (long thrown) {
      message = std::to_string(thrown);
    } catch (unsigned long thrown) {
      message = std::to_string(thrown);
    } catch (long long thrown) {
      message = std::to_string(thrown);
    } catch (unsigned long long thrown) {
      message = std::to_string(thrown);
    } catch (double thrown) {
      message = std::to_string(thrown);
    } catch (float thrown) {
      message = std::to_string(thrown);
    } catch (...) {
      message.clear();  // the type has to say it all
    }
  }
  return nested;
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
