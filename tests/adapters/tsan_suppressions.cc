// Asio counts the references to an executor down with a fence, which ThreadSanitizer does not know: it takes
// the last owner's delete for a race with the one before it.
extern "C" const char* __tsan_default_suppressions() {
  return "race:boost::asio::execution::detail::shared_target_executor::~shared_target_executor\n";
}
