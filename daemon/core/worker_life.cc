// The table of a worker's life. It decides nothing that depends on other workers (verdicts, replacements,
// budgets): that is service.cc, which performs the acts named here.
#include "core/worker_life.h"

namespace refork::core {
namespace {

using enum WorkerState;
using enum Act;

using Row = std::array<Step, base::enum_count<WorkerEvent>>;

// `judge` leaves the state alone: the verdict moves it. A standby is a serving worker without connections.
constexpr std::array<Row, base::enum_count<WorkerState>> table = {
    // ready, failure, drain_begun, disconnect, drain_ordered, kill_ordered, protocol_broken, time_up,
    // faulted, fault_contained, gone, exited
    Row{
        // starting: a failure before it is ready needs no verdict, its exit will tell; one that leaves did
        // not boot
        Step{serving, become_ready},
        Step{starting, none},
        Step{draining, leave_unready},
        Step{draining, leave_unready},
        Step{draining, order_stop},
        Step{killing, kill},
        Step{killing, expel},
        Step{killing, kill},
        Step{killing, lose},
        Step{draining, leave_unready},
        Step{killing, vacate},
        Step{killing, end},
    },
    Row{
        // standby
        Step{standby, none},
        Step{standby, judge},
        Step{draining, follow_drain},
        Step{draining, follow_drain},
        Step{draining, order_drain},
        Step{killing, kill},
        Step{draining, expel},
        Step{standby, none},
        Step{killing, lose},
        Step{draining, follow_fault},
        Step{killing, vacate},
        Step{killing, end},
    },
    Row{
        // serving
        Step{serving, none},
        Step{serving, judge},
        Step{draining, follow_drain},
        Step{draining, follow_drain},
        Step{draining, order_drain},
        Step{killing, kill},
        Step{draining, expel},
        Step{serving, none},
        Step{killing, lose},
        Step{draining, follow_fault},
        Step{killing, vacate},
        Step{killing, end},
    },
    Row{
        // draining: once, by one deadline; nothing extends it
        Step{draining, none},
        Step{draining, repeat_verdict},
        Step{draining, none},
        Step{draining, none},
        Step{draining, none},
        Step{killing, kill},
        Step{draining, expel},
        Step{killing, kill},
        Step{killing, lose},
        Step{draining, follow_fault},
        Step{killing, vacate},
        Step{killing, end},
    },
    Row{
        // killing: SIGKILL was sent, or it dies by itself; only the exit is missing
        Step{killing, none},
        Step{killing, none},
        Step{killing, none},
        Step{killing, none},
        Step{killing, none},
        Step{killing, kill},
        Step{killing, none},
        Step{killing, kill},
        Step{killing, none},
        Step{killing, none},
        Step{killing, vacate},
        Step{killing, end},
    },
};

}  // namespace

const Step& step(WorkerState state, WorkerEvent event) {
  return table[base::index(state)][base::index(event)];
}

}  // namespace refork::core
