//! Searching and counting.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use vectorizer_access::Operation;
use vectorizer_engine::admission::Read;
use vectorizer_engine::tenancy::{
    CollectionFacts, HeldPermits, NicePool, NiceValue, ResolvedSearch, Share, Tenant,
};
use vectorizer_index::{
    FUSED_DEPTH, Filter, Hit, InvalidTextQuery, SearchMode, SearchRequest, Snapshot, TextQuery, TextRequest,
    fused,
};
use vectorizer_log::{CollectionName, Language, Seq, Vector};
use vectorizer_scheduling::run_blocking;

use super::answer_memory::{INLINE_BYTES_MAX, Show, check_answer_size, shown_bytes};
use super::error::Error;
use super::input::Input;
use super::{RESULTS_MAX, Service, checked_limit, cores, rendered};

/// The default number of results.
const RESULTS_DEFAULT: usize = 10;
/// The depth of each ranking in a second fusion, if the first one has too few results.
const DEPTH_MAX: usize = RESULTS_MAX;
/// The most searches in one batch.
pub const SEARCHES_MAX: usize = 100;
/// The most candidates of a search.
const EF_MAX: u32 = 4_096;
/// A search that compares fewer numbers than this runs on the calling thread. Handing it to another thread and back
/// costs as much as comparing so many, as measured.
const INLINE_NUMBERS_MAX: usize = 1024 * 1024;
/// The cost of reading a posting of the text index, in compared numbers.
const POSTING_WEIGHT: usize = 16;
/// The longest wait for a core.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// The most searches that wait for a core, in total and of one tenant. More would time out.
const WAITING_MAX: usize = 256;
pub(super) const WAITING_EACH_MAX: usize = 64;
/// A search that compares more numbers than this is long: it yields to shorter ones.
const LONG_NUMBERS: usize = 8 * 1024 * 1024;
/// The cost of writing a number as text, in compared numbers.
const SHOWN_WEIGHT: usize = 16;

/// The basis of a ranking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RankBy {
    /// The words of a text.
    Text,
    /// A vector, or the embedding of a text.
    Vector,
    /// Both rankings, fused.
    Both,
}

/// The arguments of a search.
#[derive(Clone, Debug)]
pub struct SearchArguments {
    /// The query vector. With `text`, the search uses both.
    pub vector: Option<Vector>,
    /// The query text.
    pub text: Option<String>,
    /// The basis of the ranking. By default it uses all that is given, and the text's embedding if the server makes
    /// one.
    pub rank_by: Option<RankBy>,
    /// The most results, 1 to 1,000; by default 10.
    pub limit: Option<u64>,
    /// The filter of the results.
    pub filter: Option<Filter>,
    /// The number of candidates in the graph search, 1 to 4,096.
    pub ef: Option<u32>,
    /// Whether to compare with every vector instead of using the graph.
    pub exact: bool,
    /// The lowest score of a result, or, for a vector search by euclidean distance, the largest distance. Finite.
    pub score_threshold: Option<f32>,
    /// Which parts of each result the answer includes.
    pub show: Show,
}

/// A checked search.
#[derive(Clone, Debug)]
struct Search {
    target: SearchTarget,
    limit: usize,
    score_threshold: Option<f32>,
    mode: SearchMode,
    show: Show,
}

/// The target of a search: a vector, words, or both.
#[derive(Clone, Debug)]
struct SearchTarget {
    vector: Option<Vector>,
    /// The text to embed. The embedding becomes the vector.
    embed: Option<String>,
    words: Option<TextQuery>,
}

impl SearchTarget {
    /// Determines the target. `embeds` says whether the server makes embeddings of the collection's dimension.
    fn of(
        vector: Option<Vector>,
        text: Option<String>,
        rank_by: Option<RankBy>,
        embeds: bool,
        language: Option<Language>,
    ) -> Result<Self, Error> {
        let mismatch = |detail: &str| Err(Error::invalid("invalid-rank-by", format!("rank_by: {detail}")));
        let (words, embed) = match (&vector, &text, rank_by) {
            (None, None, _) => {
                return Err(Error::invalid("nothing-sought", "give vector, text or both"));
            }
            (Some(_), Some(_), None | Some(RankBy::Both)) | (None, Some(_), Some(RankBy::Text)) => {
                (true, false)
            }
            (Some(_), None, None | Some(RankBy::Vector)) => (false, false),
            (Some(_), _, Some(RankBy::Text)) => return mismatch("it is text, but a vector is given"),
            (Some(_), Some(_), Some(RankBy::Vector)) => {
                return mismatch("it is vector, but both a vector and a text are given");
            }
            (Some(_), None, Some(RankBy::Both)) => return mismatch("it is both, but no text is given"),
            (None, Some(_), None) => (true, embeds),
            (None, Some(_), Some(RankBy::Vector)) => (false, true),
            (None, Some(_), Some(RankBy::Both)) => (true, true),
        };
        let words = text.as_deref().filter(|_| words).map(|text| TextQuery::for_language(text, language));
        // A text without words can still be searched by its embedding.
        if vector.is_none() && !embed && words.as_ref().is_some_and(TextQuery::is_empty) {
            return Err(InvalidTextQuery.into());
        }
        let embed = text.filter(|_| embed).map(|mut text| {
            text.truncate(text.floor_char_boundary(TextQuery::BYTES_MAX));
            text
        });
        if embed.as_ref().is_some_and(String::is_empty) {
            return Err(Error::invalid("invalid-text", "text: it is empty"));
        }
        Ok(Self { vector, embed, words })
    }
}

/// The facts that a search's arguments are checked against.
#[derive(Clone, Copy, Debug)]
struct Context {
    /// Whether the server makes embeddings of the collection's dimension.
    embeds: bool,
    /// The language of the collection's texts.
    language: Option<Language>,
}

impl SearchArguments {
    /// Checks the arguments. Returns the search and its filter.
    fn checked(self, context: Context) -> Result<(Search, Option<Filter>), Error> {
        let Context { embeds, language } = context;
        let Self { vector, text, rank_by, limit: asked, filter, ef, exact, score_threshold, show } = self;
        if let Some(ef) = ef.filter(|ef| !(1..=EF_MAX).contains(ef)) {
            return Err(Error::invalid("invalid-ef", format!("ef is {ef}, it must be 1 to {EF_MAX}")));
        }
        if score_threshold.is_some_and(|score| !score.is_finite()) {
            return Err(Error::invalid("not-finite", "score_threshold is not finite in f32"));
        }
        let search = Search {
            target: SearchTarget::of(vector, text, rank_by, embeds, language)?,
            limit: checked_limit(asked, RESULTS_DEFAULT)?,
            score_threshold,
            mode: match (exact, ef) {
                (true, _) => SearchMode::Exact,
                (false, Some(ef)) => SearchMode::Candidates(ef as usize),
                (false, None) => SearchMode::Default,
            },
            show,
        };
        Ok((search, filter))
    }
}

impl Search {
    fn run(&self, snapshot: &Snapshot, resolved: &ResolvedSearch) -> Result<Vec<Hit>, Error> {
        let depth = self.depth();
        let by_vector = self.request(resolved, depth).map(|request| snapshot.search(&request)).transpose()?;
        let by_text =
            resolved.matches.as_ref().map(|matches| matches.search(&self.text_request(resolved, depth)));
        match (by_vector, by_text) {
            (Some(by_vector), Some(by_text)) => {
                let deeper = || self.deeper(snapshot, resolved);
                fused([by_vector, by_text], deeper, self.limit, self.score_threshold)
            }
            (Some(hits), None) | (None, Some(hits)) => Ok(hits),
            (None, None) => Ok(Vec::new()),
        }
    }

    /// Both rankings at the largest depth.
    fn deeper(&self, snapshot: &Snapshot, resolved: &ResolvedSearch) -> Result<[Vec<Hit>; 2], Error> {
        let by_vector =
            self.request(resolved, DEPTH_MAX).map(|request| snapshot.search(&request)).transpose()?;
        let request = self.text_request(resolved, DEPTH_MAX);
        let by_text = resolved.matches.as_ref().map(|matches| matches.search(&request));
        Ok([by_vector.unwrap_or_default(), by_text.unwrap_or_default()])
    }

    /// Whether two rankings are fused.
    fn is_fused(&self) -> bool {
        matches!(self.target, SearchTarget { vector: Some(_), words: Some(_), .. })
    }

    /// The number of hits of each ranking at first.
    fn depth(&self) -> usize {
        if self.is_fused() { FUSED_DEPTH } else { self.limit }
    }

    /// The largest number of hits of each ranking.
    fn depth_max(&self) -> usize {
        if self.is_fused() && self.limit > FUSED_DEPTH { DEPTH_MAX } else { self.depth() }
    }

    /// The lowest score in a single ranking. For two rankings it applies after the fusion.
    fn score_min(&self) -> Option<f32> {
        self.score_threshold.filter(|_| !self.is_fused())
    }

    /// The vector part of the search.
    fn request<'a>(&'a self, resolved: &'a ResolvedSearch, limit: usize) -> Option<SearchRequest<'a>> {
        Some(SearchRequest {
            vector: self.target.vector.as_ref()?.as_dense(),
            limit,
            filter: resolved.selection.as_ref(),
            score_threshold: self.score_min(),
            mode: self.mode,
        })
    }

    fn text_request<'a>(&self, resolved: &'a ResolvedSearch, limit: usize) -> TextRequest<'a> {
        TextRequest { limit, filter: resolved.selection.as_ref(), score_threshold: self.score_min() }
    }

    /// An upper bound of the numbers that it compares, approximately.
    fn compared(&self, snapshot: &Snapshot, resolved: &ResolvedSearch) -> usize {
        let vectors = self
            .request(resolved, self.depth_max())
            .map_or(0, |request| snapshot.compared(&request).saturating_mul(snapshot.dimension()));
        let texts = resolved.matches.as_ref().map_or(0, |matches| {
            if matches.reads_payloads(resolved.selection.as_ref()) {
                usize::MAX
            } else {
                POSTING_WEIGHT * matches.compared()
            }
        });
        vectors.saturating_add(texts)
    }

    /// The most numbers that the answer may show.
    fn shown_numbers(&self) -> usize {
        match &self.target.vector {
            Some(vector) if self.show.vector => self.limit * vector.dimension(),
            _ => self.limit,
        }
    }

    fn bytes(&self, hits: &[Hit]) -> usize {
        hits.iter().map(|hit| shown_bytes(&hit.point, self.show)).sum()
    }
}

/// A search, and the state that it runs on.
#[derive(Clone, Debug)]
struct Prepared {
    search: Search,
    snapshot: Snapshot,
    resolved: ResolvedSearch,
}

/// Continues a search on the state that it ran on.
///
/// It holds a snapshot. [`Tenant::keep`] drops it in time.
#[derive(Debug)]
pub struct SearchResume {
    prepared: Arc<Prepared>,
}

/// The results of a search, best first. Equal scores are ordered by id.
#[derive(Debug)]
pub struct SearchResults {
    hits: Vec<Hit>,
    show: Show,
    last_change: Seq,
    /// The approximate size of the results in JSON, in bytes.
    bytes: usize,
    permits: Option<Permits>,
}

impl SearchResults {
    /// The results.
    pub fn hits(&self) -> &[Hit] {
        &self.hits
    }

    /// The record that changed the collection last before the search.
    pub fn last_change(&self) -> Seq {
        self.last_change
    }

    /// Which parts of them the answer includes.
    pub fn show(&self) -> Show {
        self.show
    }

    /// Renders an answer: on this thread if it is small, otherwise away from the async threads, with the search's
    /// permits. `render` gets the approximate size in bytes.
    pub async fn render<T, E>(
        self,
        render: impl FnOnce(&[Hit], Show, usize) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let Self { hits, show, bytes, permits, last_change: _ } = self;
        rendered_with(permits, bytes, move || render(&hits, show, bytes)).await
    }
}

/// The results of several searches.
#[derive(Debug)]
pub struct BatchResults {
    found: Vec<(Vec<Hit>, Show)>,
    bytes: usize,
    permits: Option<Permits>,
}

impl BatchResults {
    /// Renders an answer, as [`SearchResults::render`] does.
    pub async fn render<T, E>(
        self,
        render: impl FnOnce(&[(Vec<Hit>, Show)], usize) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let Self { found, bytes, permits } = self;
        rendered_with(permits, bytes, move || render(&found, bytes)).await
    }
}

/// Renders an answer, a large one with the search's permits if it has some.
async fn rendered_with<T, E>(
    permits: Option<Permits>,
    bytes: usize,
    render: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    match permits {
        Some(permits) if bytes > INLINE_BYTES_MAX => permits.run(render).await?.0,
        Some(_) | None => rendered(bytes, render).await,
    }
}

/// The pool for searches that are too much work for an async thread: one at a time for each core, and one fewer of the
/// same tenant.
#[derive(Debug)]
pub(super) struct SearchPool {
    running: Arc<Semaphore>,
    /// The permits of searches that run or wait.
    waiting: Arc<Semaphore>,
    /// The threads of long searches, which yield to all others.
    long: NicePool,
}

impl SearchPool {
    pub(super) fn new() -> Self {
        Self {
            running: Arc::new(Semaphore::new(cores())),
            waiting: Arc::new(Semaphore::new(cores() + WAITING_MAX)),
            long: NicePool::new(cores(), NiceValue::Ten),
        }
    }

    /// Acquires the permits for a search of this cost. A small search needs none.
    async fn permits(&self, share: &Share, numbers: usize) -> Result<Option<Permits>, Error> {
        if numbers <= INLINE_NUMBERS_MAX {
            return Ok(None);
        }
        let busy = || Error::unavailable("busy", "too many searches are running", 1);
        let waiting = |permits: &Arc<Semaphore>| Arc::clone(permits).try_acquire_owned().map_err(|_| busy());
        let waiting = [waiting(&share.waiting_searches)?, waiting(&self.waiting)?];
        let running = async {
            // IMPORTANT, the order: a search that waits for its own tenant's permit must not hold one of the node's.
            let own = Arc::clone(&share.searches).acquire_owned().await;
            (own, Arc::clone(&self.running).acquire_owned().await)
        };
        let Ok((Ok(own), Ok(of_node))) = timeout(WAIT_MAX, running).await else { return Err(busy()) };
        let long = (numbers > LONG_NUMBERS).then(|| self.long.clone());
        Ok(Some(Permits { long, _waiting: waiting, _running: [own, of_node] }))
    }

    /// Runs `work`, which compares about `compared` numbers and shows `shown` numbers. `work` keeps what it owns until
    /// it is done.
    async fn run<T: Send + 'static>(
        &self,
        share: &Share,
        compared: usize,
        shown: usize,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<(T, Option<Permits>), Error> {
        let numbers = compared.saturating_add(SHOWN_WEIGHT * shown);
        match self.permits(share, numbers).await? {
            None => Ok((work()?, None)),
            Some(permits) => {
                let (done, permits) = permits.run(work).await?;
                Ok((done?, Some(permits)))
            }
        }
    }
}

/// The permits to work on a search away from the async threads.
#[derive(Debug)]
struct Permits {
    /// The threads of a long search.
    long: Option<NicePool>,
    _waiting: [OwnedSemaphorePermit; 2],
    _running: [OwnedSemaphorePermit; 2],
}

impl Permits {
    /// Does `work`, and keeps the permits until it is done, even if its caller is gone.
    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, Self), Error> {
        let long = self.long.clone();
        let work = move || (work(), self);
        let done = match long {
            Some(threads) => {
                let span = tracing::Span::current();
                threads.run(move || span.in_scope(work)).await
            }
            None => run_blocking(work).await.ok(),
        };
        done.ok_or_else(Error::internal)
    }
}

impl Service {
    /// Searches a collection. The search sees every write that was acknowledged before.
    ///
    /// # Errors
    /// `no-such-collection`, a code for each invalid argument, `busy`, `embedding-unavailable`.
    pub async fn search(
        &self,
        tenant: &Tenant<Read>,
        name: &CollectionName,
        input: Input<SearchArguments>,
    ) -> Result<SearchResults, Error> {
        let (prepared, held) = self.prepare(tenant, name, input).await?;
        let found = self.run_search(tenant.share(), prepared, held).await?;
        tenant.searched(Operation::Search, 1);
        Ok(found)
    }

    /// Searches a collection, and returns a way to more results on the same state.
    ///
    /// # Errors
    /// Those of [`Service::search`].
    pub async fn search_resumably(
        &self,
        tenant: &Tenant<Read>,
        name: &CollectionName,
        input: Input<SearchArguments>,
    ) -> Result<(SearchResults, SearchResume), Error> {
        let (prepared, held) = self.prepare(tenant, name, input).await?;
        let resume = SearchResume { prepared: Arc::clone(&prepared) };
        let found = self.run_search(tenant.share(), prepared, held).await?;
        tenant.searched(Operation::Search, 1);
        Ok((found, resume))
    }

    /// Continues an earlier search: returns up to 1,000 results on the state of that search. The bill does not count
    /// it, as it is part of that search.
    ///
    /// # Errors
    /// `busy`.
    pub async fn resume_search(
        &self,
        tenant: &Tenant<Read>,
        resume: &SearchResume,
    ) -> Result<SearchResults, Error> {
        let mut prepared = Prepared::clone(&resume.prepared);
        prepared.search.limit = RESULTS_MAX;
        self.run_search(tenant.share(), Arc::new(prepared), HeldPermits::default()).await
    }

    async fn prepare(
        &self,
        tenant: &Tenant<Read>,
        name: &CollectionName,
        input: Input<SearchArguments>,
    ) -> Result<(Arc<Prepared>, HeldPermits), Error> {
        let (facts, context) = self.context(tenant, name, input.is_large()).await?;
        let check = move |arguments: SearchArguments| arguments.checked(context);
        let ((mut search, filter), held) = self.read(tenant.share(), input, check).await?;
        self.embed(facts.as_ref(), std::iter::once(&mut search)).await?;
        let (snapshot, mut resolved_searches) =
            tenant.snapshot_of_texts(name, [filter], &[search.target.words.as_ref()]).await?;
        let resolved = resolved_searches.pop().ok_or_else(Error::internal)?;
        Ok((Arc::new(Prepared { search, snapshot, resolved }), held))
    }

    async fn run_search(
        &self,
        share: &Share,
        prepared: Arc<Prepared>,
        held: HeldPermits,
    ) -> Result<SearchResults, Error> {
        let Prepared { search, snapshot, resolved } = &*prepared;
        let last_change = snapshot.last_change();
        let shown = search.shown_numbers();
        let metrics = self.metrics().clone();
        let compared = search.compared(snapshot, resolved);
        // Try a bounded search on the calling thread. If the bound is too low, little work is lost.
        let bound = INLINE_NUMBERS_MAX.saturating_sub(SHOWN_WEIGHT * shown);
        let started = Instant::now();
        if compared > bound
            && resolved.matches.is_none()
            && let Some(request) = search.request(resolved, search.limit)
            && let Some(hits) = snapshot.search_bounded(&request, bound / snapshot.dimension().max(1))?
        {
            metrics.searched(started.elapsed());
            let bytes = search.bytes(&hits);
            check_answer_size(bytes)?;
            return Ok(SearchResults { hits, show: search.show, last_change, bytes, permits: None });
        }
        let work = move || {
            let _held = held;
            let Prepared { search, snapshot, resolved } = &*prepared;
            let started = Instant::now();
            let hits = search.run(snapshot, resolved)?;
            metrics.searched(started.elapsed());
            let bytes = search.bytes(&hits);
            check_answer_size(bytes)?;
            Ok((hits, search.show, bytes))
        };
        let ((hits, show, bytes), permits) = self.search_pool().run(share, compared, shown, work).await?;
        Ok(SearchResults { hits, show, last_change, bytes, permits })
    }

    /// Runs 1 to 100 searches against the same state.
    ///
    /// # Errors
    /// Those of [`Service::search`], prefixed with the number of the search; `invalid-batch`.
    pub async fn search_batch(
        &self,
        tenant: &Tenant<Read>,
        name: &CollectionName,
        input: Input<Vec<SearchArguments>>,
    ) -> Result<BatchResults, Error> {
        let (facts, context) = self.context(tenant, name, input.is_large()).await?;
        let at = |number: usize| move |error: Error| error.at(format_args!("searches[{number}]"));
        let check = move |searches: Vec<SearchArguments>| {
            if !(1..=SEARCHES_MAX).contains(&searches.len()) {
                let detail = format!("searches: it holds {}, it must be 1 to {SEARCHES_MAX}", searches.len());
                return Err(Error::invalid("invalid-batch", detail));
            }
            let check =
                |(number, search): (usize, SearchArguments)| search.checked(context).map_err(at(number));
            let checked: Result<(Vec<Search>, Vec<Option<Filter>>), Error> =
                searches.into_iter().enumerate().map(check).collect();
            checked
        };
        let ((mut searches, filters), held) = self.read(tenant.share(), input, check).await?;
        self.embed(facts.as_ref(), searches.iter_mut()).await?;
        let shown = searches.iter().map(Search::shown_numbers).sum();
        let questions: Vec<_> = searches.iter().map(|search| search.target.words.as_ref()).collect();
        let (snapshot, resolved_searches) = tenant.snapshot_of_texts(name, filters, &questions).await?;
        let compared = |(search, resolved): (&Search, &ResolvedSearch)| search.compared(&snapshot, resolved);
        let compared = searches.iter().zip(&resolved_searches).map(compared).fold(0, usize::saturating_add);
        let (metrics, count) = (self.metrics().clone(), searches.len());
        let work = move || {
            let _held = held;
            let mut bytes = 0;
            let mut found = Vec::with_capacity(searches.len());
            for (number, (search, resolved)) in (0..).zip(searches.iter().zip(&resolved_searches)) {
                let started = Instant::now();
                let hits = search.run(&snapshot, resolved).map_err(at(number))?;
                metrics.searched(started.elapsed());
                bytes += search.bytes(&hits);
                check_answer_size(bytes)?;
                found.push((hits, search.show));
            }
            Ok((found, bytes))
        };
        let ((found, bytes), permits) = self.search_pool().run(tenant.share(), compared, shown, work).await?;
        tenant.searched(Operation::SearchBatch, count);
        Ok(BatchResults { found, bytes, permits })
    }

    /// Counts the vectors of a collection, or those that match a filter.
    ///
    /// # Errors
    /// `no-such-collection`, `invalid-filter`, `busy`.
    pub async fn count(
        &self,
        tenant: &Tenant<Read>,
        name: &CollectionName,
        input: Input<Option<Filter>>,
    ) -> Result<usize, Error> {
        self.expect_collection(tenant, name, input.is_large()).await?;
        let (filter, held) = self.read(tenant.share(), input, Ok).await?;
        let (snapshot, mut selections) = tenant.snapshot(name, [filter]).await?;
        let selection = selections.pop().flatten();
        let points = match &selection {
            None => 0,
            Some(selection) if selection.candidates().is_some_and(|(_, exact)| exact) => 0,
            // The payloads may be large and many.
            Some(_) => usize::MAX,
        };
        let work = move || {
            let _held = held;
            Ok(snapshot.count(selection.as_ref()))
        };
        let (count, _) = self.search_pool().run(tenant.share(), points, 1, work).await?;
        Ok(count)
    }

    /// The facts that the arguments of a search in this collection are checked against. If the arguments are small, a
    /// missing collection is reported later.
    async fn context(
        &self,
        tenant: &Tenant<Read>,
        name: &CollectionName,
        is_large: bool,
    ) -> Result<(Option<CollectionFacts>, Context), Error> {
        self.expect_collection(tenant, name, is_large).await?;
        let facts = tenant.existing(name).await?;
        let embeds = self
            .embedder()
            .zip(facts.as_ref())
            .is_some_and(|(embedder, facts)| facts.texts.is_some() && embedder.fits(facts));
        let language = facts.as_ref().and_then(|facts| facts.texts).and_then(|texts| texts.language);
        Ok((facts, Context { embeds, language }))
    }

    /// Rejects large arguments for a missing collection before they are parsed.
    async fn expect_collection(
        &self,
        tenant: &Tenant<Read>,
        name: &CollectionName,
        is_large: bool,
    ) -> Result<(), Error> {
        if is_large {
            tenant.collection(name).await?;
        }
        Ok(())
    }

    /// Embeds the query texts that need it.
    async fn embed(
        &self,
        facts: Option<&CollectionFacts>,
        searches: impl Iterator<Item = &mut Search>,
    ) -> Result<(), Error> {
        let mut targets: Vec<&mut SearchTarget> =
            searches.map(|search| &mut search.target).filter(|target| target.embed.is_some()).collect();
        let texts: Vec<String> = targets.iter_mut().filter_map(|target| target.embed.take()).collect();
        if texts.is_empty() {
            return Ok(());
        }
        let (Some(embedder), Some(facts)) = (self.embedder(), facts) else {
            let detail = "rank_by: this server makes no embeddings; give a vector";
            return Err(Error::invalid("invalid-rank-by", detail));
        };
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        for (target, vector) in targets.into_iter().zip(embedder.embed_for(facts, &texts).await?) {
            target.vector = Some(vector);
        }
        Ok(())
    }
}
