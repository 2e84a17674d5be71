//! Runs rules over their windows, one at a time.

use super::alerts::{self, ROWS_MAX};
use super::queries::Ask;
use super::schedule::{self, Step, Window};
use super::store::{self, Stored};
use super::{Custom, CustomError, Run, RunKind, RunState};
use garrison_model::Micros;
use std::sync::Arc;
use std::time::Duration;

/// How often the schedule is looked at when nothing wakes it.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Characters of an error in the history.
const ERROR_CHARS_MAX: usize = 400;

pub(crate) fn run_id() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

impl Custom {
    /// Looks at the schedule until the server stops.
    pub async fn run_loop(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.shared.stop.cancelled() => return,
            }
            if let Err(error) = self.run_due().await {
                tracing::error!(error = &error as &dyn std::error::Error, "due detections could not be run");
            }
        }
    }

    /// Runs everything that is due, oldest windows first; answers how many steps were taken.
    pub async fn run_due(self: &Arc<Self>) -> Result<usize, CustomError> {
        let mut steps = 0;
        loop {
            let mut next: Option<(Window, Stored)> = None;
            for rule in store::all(&self.shared).await? {
                if !rule.definition.enabled {
                    continue;
                }
                match schedule::due((self.clock)().0, self.event_time(), &rule.state) {
                    None => {}
                    Some(Step::Run(window)) if next.as_ref().is_none_or(|(known, _)| window.to < known.to) => {
                        next = Some((window, rule));
                    }
                    // Another rule's window ends earlier: this one's turn comes after it.
                    Some(Step::Run(_)) => {}
                    Some(Step::Skip(window)) => {
                        let run = self.ended(&rule, RunKind::Schedule, RunState::Skipped, window, (self.clock)().0);
                        store::record(&self.shared, &run, Some((rule.state.watermark, window.to))).await?;
                        steps += 1;
                    }
                    Some(Step::Rewind(to)) => {
                        tracing::warn!(rule = %rule.id, "the clock went back by days: the detection begins anew");
                        let window = Window { from: to, to: rule.state.watermark };
                        let run = self.ended(&rule, RunKind::Schedule, RunState::Skipped, window, (self.clock)().0);
                        store::record(&self.shared, &run, Some((rule.state.watermark, to))).await?;
                        steps += 1;
                    }
                }
            }
            let Some((window, rule)) = next else { return Ok(steps) };
            if self.shared.stop.is_cancelled() {
                return Ok(steps);
            }
            let _turn = self.turn.lock().await;
            self.run_window(&rule, window).await?;
            steps += 1;
        }
    }

    async fn run_window(self: &Arc<Self>, rule: &Stored, window: Window) -> Result<(), CustomError> {
        let started = (self.clock)().0;
        let outcome = self.look(rule, Some((window.from, window.to)), None, window.to).await;
        match outcome {
            Ok((rows, made)) => {
                let mut run = self.ended(rule, RunKind::Schedule, RunState::Completed, window, started);
                (run.rows, run.alerts, run.repeated) = (rows, made.alerts as i64, made.repeated as i64);
                run.capped = made.capped;
                self.announce(&run, &rule.definition.name);
                store::record(&self.shared, &run, Some((rule.state.watermark, window.to))).await?;
            }
            Err(error) => {
                let now = (self.clock)().0;
                tracing::warn!(rule = %rule.id, %error, "a detection's query failed");
                match schedule::after_failure(now, &rule.state) {
                    Some((attempts, not_before)) => store::retry(&self.shared, &rule.id, attempts, not_before).await?,
                    None => {
                        let mut run = self.ended(rule, RunKind::Schedule, RunState::Failed, window, started);
                        run.error = error.to_string().chars().take(ERROR_CHARS_MAX).collect();
                        store::record(&self.shared, &run, Some((rule.state.watermark, window.to))).await?;
                    }
                }
            }
        }
        if let Ok(view) = self.get(&rule.id).await {
            self.tell(view);
        }
        Ok(())
    }

    /// Runs the query and makes alerts: rows and what became of them.
    pub(crate) async fn look(
        self: &Arc<Self>,
        rule: &Stored,
        range: Option<(i64, i64)>,
        ingested: Option<(i64, i64)>,
        now: i64,
    ) -> Result<(i64, alerts::Made), CustomError> {
        let ask = Ask {
            text: rule.definition.query.clone(),
            now: Micros(now),
            range,
            ingested,
            rows: None,
            rows_max: ROWS_MAX,
        };
        let found = self.queries.run(ask).await.map_err(CustomError::Query)?;
        let drafts = alerts::drafts(self, &rule.id, &rule.definition, &found, None).await?;
        let mut made = alerts::take(self, drafts, self.alerts_per_run).await?;
        made.capped |= found.more;
        Ok((i64::try_from(found.row_count()).unwrap_or(i64::MAX), made))
    }

    /// Runs a rule now over its look-back (continuous ones over an hour); its schedule is not touched.
    pub async fn run_now(self: &Arc<Self>, id: &str) -> Result<Run, CustomError> {
        let _turn = self.turn.lock().await;
        let rule = store::one(&self.shared, id).await?;
        let now = (self.clock)().0;
        let (_, look_back) = rule.definition.frequency.window().unwrap_or((0, 3_600_000_000));
        let window = Window { from: now.saturating_sub(look_back), to: now };
        let outcome = self.look(&rule, Some((window.from, window.to)), None, now).await;
        let mut run = self.ended(&rule, RunKind::Manual, RunState::Completed, window, now);
        match outcome {
            Ok((rows, made)) => {
                (run.rows, run.alerts, run.repeated) = (rows, made.alerts as i64, made.repeated as i64);
                run.capped = made.capped;
            }
            Err(error) => {
                run.state = RunState::Failed;
                run.error = error.to_string().chars().take(ERROR_CHARS_MAX).collect();
            }
        }
        self.announce(&run, &rule.definition.name);
        store::record(&self.shared, &run, None).await?;
        Ok(run)
    }

    pub(crate) fn ended(&self, rule: &Stored, kind: RunKind, state: RunState, window: Window, started: i64) -> Run {
        Run {
            id: run_id(),
            rule_id: rule.id.clone(),
            kind,
            state,
            window,
            started,
            ended: (self.clock)().0,
            rows: 0,
            alerts: 0,
            repeated: 0,
            capped: false,
            error: String::new(),
        }
    }

    pub(crate) fn announce(&self, run: &Run, name: &str) {
        if run.capped {
            tracing::warn!(
                rule = %run.rule_id, name, alerts = run.alerts, rows = run.rows,
                "a detection hit the cap of alerts for one run; the rest waits for the next run"
            );
        }
    }
}
