/** The list of an owner's sessions. */
export const LIST_STYLE = `
form.sign-in { max-width: 30rem; display: grid; gap: 0.75rem; margin-top: 1.5rem; }
form label { font-size: 0.9375rem; }
input[type="password"], input[type="search"], select {
	width: 100%; font: inherit; color: inherit; background: var(--paper); border: 1px solid var(--quiet); border-radius: 6px; padding: 0.45rem 0.7rem;
}
button { font: inherit; cursor: pointer; padding: 0.45rem 1rem; border-radius: 6px; border: 1px solid var(--quiet); background: var(--sunk); color: var(--ink); }
button.main { background: var(--link); border-color: var(--link); color: var(--paper); justify-self: start; }
form .check { display: flex; gap: 0.6rem; align-items: baseline; }
.error { margin: 0; color: var(--bad); min-height: 1.6em; }
.filters { display: grid; grid-template-columns: 1fr 14rem auto auto; gap: 0.75rem; align-items: end; margin: 1rem 0; }
.filters label { display: grid; gap: 0.2rem; font-size: 0.8125rem; color: var(--quiet); min-width: 0; }
.filters button { font-size: 0.875rem; padding: 0.45rem 0.9rem; min-height: 2.3rem; }
.filters .check { padding-bottom: 0.6rem; }
.count { color: var(--quiet); font-size: 0.875rem; margin: 0.5rem 0; }
.rows { list-style: none; margin: 0; padding: 0; border-top: 1px solid var(--edge); }
.rows > li { display: grid; grid-template-columns: 1fr auto; gap: 0 1rem; padding: 0.6rem 0.25rem; border-bottom: 1px solid var(--edge); content-visibility: auto; contain-intrinsic-size: auto none auto 4rem; }
.rows .row-title { font-weight: 600; text-decoration: none; }
.rows .row-title:hover { text-decoration: underline; }
.rows .when { color: var(--quiet); font-size: 0.875rem; text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.rows .where { grid-column: 1 / -1; color: var(--quiet); font-size: 0.8125rem; display: flex; flex-wrap: wrap; gap: 0 1rem; }
.rows .now { color: var(--good); font-weight: 600; }
@media (max-width: 40rem) { .filters { grid-template-columns: 1fr auto; } .filters label:nth-child(-n+2) { grid-column: 1 / -1; } }
`;
