// The Store that the rest of the daemon sees: each call becomes a job of the Writer, each answer comes back
// through dispatch() on the main thread.
#include "store/store.h"

#include <utility>

#include "store/queued_store.h"

namespace refork::store {
namespace {

class QueuedStore : public Store {
 public:
  QueuedStore(const std::string& state_dir, core::StoreConfig config, Tuning tuning)
      : writer_(Writer::start(state_dir, config, tuning)) {}
  ~QueuedStore() override { close(); }
  QueuedStore(const QueuedStore&) = delete;
  QueuedStore& operator=(const QueuedStore&) = delete;

  int fd() const noexcept override { return writer_->fd(); }

  void dispatch() override {
    const Writer::Finished finished = writer_->take_finished();
    for (const auto& call : finished.calls) call();
    if (finished.status_changed && on_status_change_) on_status_change_();
  }

  void add(core::FailureRow row, std::function<void()> stored) override {
    writer_->add(std::move(row), std::move(stored));
  }
  void end(core::EndRow row, std::function<void()> stored) override {
    writer_->add(std::move(row), std::move(stored));
  }

  void list(core::FailureFilter filter, Reply<std::vector<std::string>> reply) override {
    ask(std::move(reply), [filter = std::move(filter)](Engine& engine) { return engine.list(filter); });
  }
  void top(core::FailureFilter filter, Reply<std::vector<std::string>> reply) override {
    ask(std::move(reply), [filter = std::move(filter)](Engine& engine) { return engine.top(filter); });
  }
  void show(std::string id_prefix, Reply<std::string> reply) override {
    ask(std::move(reply), [id = std::move(id_prefix)](Engine& engine) { return engine.show(id); });
  }
  void clear(std::string service, Reply<std::uint64_t> reply) override {
    ask(std::move(reply), [service = std::move(service)](Engine& engine) { return engine.clear(service); });
  }

  std::uint64_t last_worker_id() const override { return writer_->last_worker_id(); }
  void reserve_worker_ids(std::uint64_t up_to) override { writer_->reserve_worker_ids(up_to); }
  core::StoreStatus status() const override { return writer_->status(); }
  std::function<void()>& on_status_change() override { return on_status_change_; }
  void close() override { writer_->stop(); }

 private:
  template <class T, class Question>
  void ask(Reply<T> reply, Question question) {
    const auto answer = [reply = std::move(reply)](base::Result<T> result) -> Writer::Call {
      return [reply, result = std::move(result)] { reply(result); };
    };
    writer_->ask(
        {[answer, question = std::move(question)](Engine& engine) { return answer(question(engine)); },
         [answer](base::Error error) { return answer(std::move(error)); }});
  }

  std::shared_ptr<Writer> writer_;
  std::function<void()> on_status_change_;
};

}  // namespace

std::unique_ptr<Store> open_store(const std::string& state_dir, core::StoreConfig config, Tuning tuning) {
  return std::make_unique<QueuedStore>(state_dir, config, tuning);
}

std::unique_ptr<Store> Store::open(const std::string& state_dir, core::StoreConfig config) {
  return open_store(state_dir, config, Tuning{});
}

}  // namespace refork::store
