//! `junit.xml`: the verdict, each gate and each SLO as test cases, so that a CI shows them where
//! it shows tests.
//!
//! Gates decide the exit code and fail their case. An SLO is a promise of the service, not a
//! condition on the run: missed, it is reported as skipped with the figures, not as a failure.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as JUnit, TestCase, TestCaseStatus, TestSuite};

use crate::error::ReportError;
use crate::exit;
use crate::format;
use crate::generator::RunVerdict;
use crate::report::Report;
use crate::summary::{GateResult, Summary};

/// The report as JUnit XML.
///
/// # Errors
/// When the XML writer fails, which it does only without memory.
pub fn render_junit(report: &Report) -> Result<String, ReportError> {
    let s = &report.summary;
    let time = Duration::try_from_secs_f64(s.duration_s).unwrap_or_default();
    let mut suite = TestSuite::new(s.name.as_str());
    suite.set_time(time);
    suite.add_test_case(run_case(s));
    for g in &s.gates {
        let status = match g.result {
            GateResult::Pass => TestCaseStatus::success(),
            GateResult::Fail => {
                let mut failed = TestCaseStatus::non_success(NonSuccessKind::Failure);
                failed.set_message(format!("actual {} (n = {})", format::actual(g), g.n)).set_type("gate");
                failed
            }
            GateResult::Inconclusive => {
                let mut unknown = TestCaseStatus::non_success(NonSuccessKind::Error);
                let why = g.reason.as_deref().unwrap_or("the run cannot tell");
                unknown
                    .set_message(format!("inconclusive: {why}; actual {}", format::actual(g)))
                    .set_type("inconclusive");
                unknown
            }
        };
        suite.add_test_case(case(&g.expression, "gates", status));
    }
    for slo in &s.slos {
        let status = if slo.met == Some(true) {
            TestCaseStatus::success()
        } else {
            let mut noted = TestCaseStatus::skipped();
            noted.set_message(format!(
                "{}: {} good, {} promised",
                format::slo_word(slo.met),
                format::percent_or_none(slo.actual, slo.objective),
                format::percent(slo.objective, slo.objective)
            ));
            noted
        };
        suite.add_test_case(case(&slo.name, "slos", status));
    }
    let mut junit = JUnit::new(s.name.as_str());
    junit.set_time(time);
    junit.add_test_suite(suite);
    junit.to_string().map_err(|e| ReportError::Render { format: "junit.xml", problem: e.to_string() })
}

fn case(name: &str, family: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(family);
    case
}

/// The run itself: whether it came to its end with a generator that kept up.
fn run_case(s: &Summary) -> TestCase {
    let reasons = s.verdict.reasons.join("\n");
    let status = if s.verdict.run == RunVerdict::Invalid || !s.complete {
        let mut broken = TestCaseStatus::non_success(NonSuccessKind::Error);
        let how = if s.complete { "INVALID" } else { "not complete" };
        broken
            .set_message(format!("the run is {how} (exit code {})", s.verdict.exit_code))
            .set_type(if s.verdict.exit_code == exit::INTERRUPTED { "interrupted" } else { "run" })
            .set_description(reasons.as_str());
        broken
    } else {
        TestCaseStatus::success()
    };
    let mut case = case("the run is valid and complete", "run", status);
    if s.complete && !reasons.is_empty() {
        case.set_system_out(reasons);
    }
    case
}
